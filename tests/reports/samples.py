"""Reports made by hand: what a scan could say about a few imaginary scripts. Shared by the tests of every format."""

from __future__ import annotations

import math
from dataclasses import replace

from sample_details import batch, gradient_bars, leaves, loop, lr_curve, overfit_curve, update_bars

from trainlint.details import Bars, Code, ImageGrid, Line, Mark, Picture, Series, Table, Timeline, TimelineEvent
from trainlint.finding import Finding, Fix, Outcome, Proof, Severity, Stage
from trainlint.location import Location
from trainlint.report import Cost, Report, Subject

HOSTILE = "<script>alert(1)</script>"

ENVIRONMENT = {"python": "3.11.9", "torch": "2.4.1", "device": "cpu, 2 threads", "platform": "Linux x86_64", "seed": "0"}
COST = Cost(
    seconds=21.4,
    step_seconds=0.0312,
    step_equivalents=412.0,
    probes={"loop": 0.1, "loss": 0.04, "batches": 0.31, "overfit": 6.2, "learning_rate": 9.8},
)


def finding(code: str, name: str, outcome: Outcome = Outcome.PASS, severity: Severity = Severity.ERROR, **fields: object) -> Finding:
    """A finding whose stage follows from its code."""
    values = {"message": f"The rule {name} looked at 6 steps and found nothing wrong", "why": "It matters."} | fields
    return Finding(code=code, name=name, stage=Stage(int(code[2])), outcome=outcome, severity=severity, **values)  # type: ignore[arg-type]


def failures() -> tuple[Finding, ...]:
    """Eight failures, each of another kind and with other details."""
    return (
        finding(
            "TL103", "output-activation", Outcome.FAIL,
            message="The model ends in `softmax`, and `cross_entropy` applies log-softmax itself: the loss cannot fall below 0.744 "
            "even for perfect predictions, and its gradient is up to 4 times too small",
            evidence={"measured": "softmax, every row sums to 1", "expected": "raw scores (logits)", "input_min": 0.081, "input_max": 0.42},
            location=Location("train.py", 31, "forward", "return F.softmax(self.head(x), dim=1)"),
            why="Two softmaxes in a row flatten the gradient. Training looks alive, but crawls and stops far from the best loss.",
            source="torch.nn.CrossEntropyLoss: “The input is expected to contain the unnormalized logits” "
            "https://pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html",
            fix=Fix(
                summary="Return the raw scores; apply softmax only where you need probabilities",
                code="-        return F.softmax(self.head(x), dim=1)\n+        return self.head(x)",
            ),
            proof=Proof(helped=True, summary="Replayed without the softmax: loss after 20 steps 1.21 → 0.38", before=1.21, after=0.38),
            details=(
                Code(
                    title="train.py",
                    text="    def forward(self, x):\n        x = self.features(x)\n        x = x.flatten(1)\n"
                    "        return F.softmax(self.head(x), dim=1)\n\n\ndef main(epochs=10, lr=1e-5):",
                    first_line=28,
                    highlight=31,
                ),
            ),
        ),
        finding(
            "TL203", "input-scale", Outcome.FAIL, Severity.WARNING,
            message="Inputs reach from 0 to 255 with mean 120.7 and standard deviation 64.1: they are not normalised",
            evidence={"measured": 64.06, "expected": "about 1", "threshold": 10.0, "channel_mean": [125.3, 122.9, 113.9]},
            location=Location("train.py", 19, "loaders", "transform = transforms.PILToTensor()"),
            why="The first layer's gradient grows with the input, so one learning rate cannot suit it and the rest.",
            source="LeCun et al., Efficient BackProp (1998), section 4.3 http://yann.lecun.com/exdb/publis/pdf/lecun-98b.pdf",
            fix=Fix(
                summary="Scale to [0, 1] and normalise with the training set's statistics",
                code="transform = transforms.Compose([\n    transforms.ToTensor(),\n"
                "    transforms.Normalize((0.491, 0.482, 0.447), (0.247, 0.243, 0.262)),\n])",
            ),
            details=(leaves(),),
        ),
        finding(
            "TL210", "shuffle", Outcome.FAIL,
            message="Training samples come sorted by label: 4 stretches of equal labels in 4,000 samples, "
            "where random order gives about 3,001",
            evidence={"measured": 4, "expected": 3001.2, "threshold": "z < −6", "z": -108.7},
            location=Location("train.py", 22, "loaders", "train_loader = DataLoader(train_set, batch_size=64, num_workers=2)"),
            why="A batch of one class pulls the model towards that class; the next batch undoes it.",
            source="Bengio, Practical recommendations for gradient-based training (2012), section 3.1 https://arxiv.org/abs/1206.5533",
            fix=Fix(
                summary="Shuffle the training loader",
                code="train_loader = DataLoader(train_set, batch_size=64, num_workers=2, shuffle=True)",
            ),
            details=(
                batch(flagged=(3,)),
                Bars(
                    title="Share of the most frequent label in each of the first batches", value_label="share",
                    labels=tuple(f"batch {i}" for i in range(1, 7)), values=(1.0, 1.0, 1.0, 0.98, 1.0, 1.0),
                    marks=(Mark(label="in the whole set", y=0.26),), highlight=(0, 1, 2, 3, 4, 5),
                ),
            ),
        ),
        finding(
            "TL305", "gradient-accumulation", Outcome.FAIL,
            message="Gradients are never cleared: at step 5 they hold 5 backward passes, 4 of them stale",
            evidence={"measured": 5, "expected": 1, "stale": [0, 1, 2, 3, 4]},
            location=Location("train.py", 55, "train_epoch", "optimizer.step()"),
            why="Each step repeats all earlier gradients, so the update grows and points backwards in time.",
            source="torch.optim: zero_grad https://pytorch.org/docs/stable/optim.html",
            fix=Fix(
                summary="Clear the gradients before each backward pass",
                code=" for images, labels in train_loader:\n+    optimizer.zero_grad()\n     loss = criterion(model(images), labels)",
            ),
            details=(loop(broken=True),),
        ),
        finding(
            "TL307", "gradient-vanishing", Outcome.FAIL, Severity.WARNING,
            message="Gradients shrink 180,000-fold from the last layer to the first: `stem.conv` receives 1e-06",
            evidence={"measured": 5.6e-6, "threshold": 1e-4},
            location=Location("model.py", 77, "Encoder.__init__", "self.blocks = nn.Sequential(*[Block(dim) for _ in range(depth)])"),
            why="Early layers stay near their random start while the last ones learn on top of noise.",
            source="Glorot and Bengio, Understanding the difficulty of training deep feedforward neural networks (2010) "
            "https://proceedings.mlr.press/v9/glorot10a.html",
            fix=Fix(summary="Add residual connections or normalisation between the blocks", code="x = x + self.block(self.norm(x))"),
            details=(gradient_bars(),),
        ),
        finding(
            "TL310", "update-ratio", Outcome.FAIL, Severity.NOTE,
            message="`fc2` moves by 4.2 % of its weights in one step, 40 times as much as the other layers",
            evidence={"measured": 0.042, "expected": "1e-4 to 1e-2"},
            location=Location("train.py", 44, "main", "optimizer = torch.optim.SGD(model.parameters(), lr=lr)"),
            source="Karpathy, CS231n notes, Ratio of weights to updates https://cs231n.github.io/neural-networks-3/",
            fix=Fix(summary="Give the head a smaller learning rate or a smaller start"),
            details=(update_bars(),),
        ),
        finding(
            "TL313", "eval-mode", Outcome.FAIL, Severity.WARNING,
            message="Validation runs in training mode: dropout drops and batch norm learns from validation batches",
            evidence={"measured": "training", "expected": "eval", "layers": "Dropout, BatchNorm2d"},
            location=Location("train.py", 64, "validate", "logits = model(images.to(device))"),
            source="torch.nn.Module.eval https://pytorch.org/docs/stable/generated/torch.nn.Module.html",
            fix=Fix(
                summary="Switch the mode around validation",
                code="model.eval()\nwith torch.no_grad():\n    validate(model, val_loader)\nmodel.train()",
            ),
        ),
        finding(
            "TL401", "lr-range", Outcome.FAIL, Severity.WARNING,
            message="The learning rate 1e-05 is 30 times below the band that trains well (0.0003 to 0.06)",
            evidence={"measured": 1e-5, "expected": "0.0003 to 0.06", "threshold": "10 ×"},
            location=Location("train.py", 34, "main", "def main(epochs=10, lr=1e-5):"),
            why="At this rate the run needs many times as many epochs, or never leaves its start.",
            source="Smith, Cyclical learning rates for training neural networks (2017) https://arxiv.org/abs/1506.01186",
            fix=Fix(summary="Start at 0.004, the middle of the band", code="def main(epochs=10, lr=4e-3):"),
            details=(lr_curve(),),
        ),
    )  # fmt: skip


def others() -> tuple[Finding, ...]:
    """What did not fail beside the eight."""
    reason = "output-activation failed, so this cannot be judged; mend that first"
    return (
        finding(
            "TL101", "init-loss", message="The first loss is 1.387, chance is ln 4 = 1.386", evidence={"measured": 1.387, "expected": 1.386}
        ),
        finding("TL102", "label-range", message="Labels are 0 to 3, the model has 4 outputs"),
        finding("TL104", "loss-shape", message="Prediction (64, 4) and target (64,) fit"),
        finding("TL201", "batch-view", message="One batch was drawn", severity=Severity.NOTE),
        finding("TL202", "input-finite", message="4,000 of 4,000 samples hold only finite numbers"),
        finding("TL301", "overfit-batch", Outcome.BLOCKED, reason=reason, blocked_by="output-activation"),
        finding("TL302", "frozen-params", message="All 14 parameter tensors require a gradient"),
        finding("TL304", "no-gradient", message="All 14 parameter tensors received a gradient"),
        finding("TL306", "loop-order", message="backward → step in every one of 6 steps"),
        finding("TL311", "non-finite", message="No NaN or infinity in 6 steps"),
        finding("TL402", "schedule-cadence", Outcome.NOT_RUN, Severity.WARNING, reason="the script builds no scheduler"),
        finding("TL504", "finetune-lr", Outcome.NOT_RUN, Severity.WARNING, reason="no weights were loaded"),
        finding("TL601", "curve-shape", Outcome.NOT_RUN, Severity.WARNING, reason="no log file was given"),
    )


def eight_findings() -> Report:
    found = tuple(sorted((*failures(), *others()), key=lambda f: f.code))
    steps = tuple(float(i) for i in range(0, 620, 10))
    schedule = Series(
        title="Learning rate over the whole run",
        x_label="step",
        y_label="learning rate",
        lines=(Line(name="group 0", x=steps, y=tuple(5e-6 * (1 + math.cos(math.pi * i / 610)) for i in steps)),),
    )
    return Report(
        subject=Subject(
            kind="script", name="train.py", command="trainlint scan train.py -- --epochs 10",
            notes=("Validation was cut to 2 of 16 batches.",), environment=ENVIRONMENT,
        ),
        findings=found,
        start_here=next(f for f in found if f.name == "output-activation"),
        cost=COST,
        overview=(batch(), loop(broken=True), overfit_curve(), schedule, leaves()),
        version="0.1.0",
    )  # fmt: skip


def all_passed() -> Report:
    good = tuple(replace(f, outcome=Outcome.PASS, reason="", blocked_by=None) if f.outcome is Outcome.BLOCKED else f for f in others())
    return Report(
        subject=Subject(kind="script", name="examples/digits.py", command="trainlint scan examples/digits.py", environment=ENVIRONMENT),
        findings=good,
        cost=COST,
        overview=(batch(), loop(), overfit_curve(), leaves()),
        version="0.1.0",
    )


def crashed() -> Report:
    reason = "the script ended before its first optimizer step"
    trace = Code(
        title="Traceback of the script",
        text='Traceback (most recent call last):\n  File "train.py", line 53, in train_epoch\n    loss = criterion(model(images), labels)\n'
        "RuntimeError: mat1 and mat2 shapes cannot be multiplied (64x3072 and 1024x10)",
    )
    return Report(
        subject=Subject(
            kind="script", name="train.py", command="trainlint scan train.py", status="crashed",
            notes=("RuntimeError: mat1 and mat2 shapes cannot be multiplied (64x3072 and 1024x10), at train.py:53",),
            environment=ENVIRONMENT,
        ),
        findings=tuple(
            f if f.stage is Stage.DATA else replace(f, outcome=Outcome.NOT_RUN, reason=reason, blocked_by=None) for f in others()
        ),
        cost=Cost(seconds=3.1),
        overview=(trace, batch()),
        version="0.1.0",
    )  # fmt: skip


def hostile() -> Report:
    """Markup, control characters and terminal escapes wherever a name from outside can stand."""
    bad = f"{HOSTILE}\x1b[31m\x00&\"'{{{{ 7*7 }}}}$x_"
    place = Location(f"{bad}.py", 3, bad, f"x = '{bad}'")
    worst = finding(
        "TL103", "output-activation", Outcome.FAIL,
        message=bad, evidence={bad: bad, "measured": [bad, {bad: bad}]}, location=place, why=bad, source=f"{bad} javascript:alert(1)",
        fix=Fix(summary=bad, code=f"-{bad}\n+{bad}"), proof=Proof(helped=False, summary=bad),
        details=(
            Series(title=bad, x_label=bad, y_label=bad, lines=(Line(name=bad, x=(1.0, 2.0), y=(1.0, 2.0)),), marks=(Mark(label=bad, x=2),)),
            Bars(title=bad, value_label=bad, labels=(bad,), values=(1.0,)),
            Table(title=bad, columns=(bad,), rows=((bad,),)),
            ImageGrid(title=bad, pictures=(Picture(png=bad, caption=bad, flagged=True),), note=bad),
            Code(title=bad, text=bad),
            Timeline(title=bad, events=(TimelineEvent(kind=bad, label=bad, file=bad, line=1, flagged=True),)),
        ),
    )  # fmt: skip
    silent = finding("TL201", "batch-view", Outcome.NOT_RUN, reason=bad, blocked_by=bad)
    subject = Subject(kind="script", name=bad, command=bad, status=bad, notes=(bad,), environment={bad: bad})
    return Report(
        subject=subject, findings=(worst, silent), start_here=worst, cost=Cost(probes={bad: 1.0}), overview=worst.details, version=bad
    )


DIFF = """\
--- train.py
+++ train.py
@@ -28,5 +28,5 @@
     def forward(self, x):
-        return F.softmax(self.head(x), dim=1)
+        return self.head(x)
@@ -60,2 +60,4 @@
 def validate(model, loader):
+    model.eval()
+
"""


def proven() -> Report:
    """A failure whose fix comes as a change to the user's file and was tried, with its curves."""
    report = eight_findings()
    steps = tuple(float(i) for i in range(40))
    curves = Series(
        title="Loss as it is and with the fix", x_label="step", y_label="loss on new batches",
        lines=(
            Line(name="as it is", x=steps, y=tuple(1.38 - 0.004 * i for i in steps)),
            Line(name="with the fix", x=steps, y=tuple(0.3 + 1.08 * math.exp(-i / 12) for i in steps)),
        ),
    )  # fmt: skip
    proof = Proof(
        helped=True, summary="40 steps from the same weights on the same batches.", before=1.21, after=0.38,
        measure="loss after 40 steps on new batches", curves=curves,
    )  # fmt: skip
    first = replace(report.findings[2], fix=Fix(summary="Return the raw scores", diff=DIFF, safe=True), proof=proof)
    return replace(report, findings=tuple(first if f is report.findings[2] else f for f in report.findings), start_here=first)


def empty() -> Report:
    return Report(subject=Subject(kind="objects", name="Net"), findings=())
