"""Everything that can go wrong with a training script, and what a scan or a watch of it must come to.

``tests/faults/test_scan_faults.py`` runs the cheap ones in forked processes, ``benchmarks/faults.py`` all of them as a user would.
"""

from __future__ import annotations

from fault import Fault, script

__all__ = ["CURVES", "SCANS", "WATCHES"]


def _raises(where: str, step: int) -> str:
    """A script whose forward, loader or step raises at the step with this number."""
    what = "raise RuntimeError('a fault of the script')"
    return script(**{
        "forward": {"forward": f"if Net.calls == {step}: {what}"},
        "loader": {"item": f"if Points.read == {32 * step - 16}: {what}"},
        "after the step": {"step": f"if steps == {step}: {what}"},
    }[where])  # fmt: skip


_BROKEN_STEP = """
class Broken(torch.optim.SGD):
    taken = 0
    def step(self, closure=None):
        self.taken += 1
        if self.taken == 3: raise RuntimeError('a fault of the script')
        return super().step(closure)
"""
_LIMIT = "import resource; resource.setrlimit(resource.RLIMIT_AS, (int(open('/proc/self/statm').read().split()[0]) * 4096 + {more} * 2**20,) * 2)"
_BEFORE = r"crashed before its first training step.*a fault of the script"
_AFTER = r"crashed after some training steps.*train\.py\", line \d+.*a fault of the script"
_HANG = "mark('here'); time.sleep(10**6)"
_IGNORES = "import signal\nfor number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP): signal.signal(number, lambda *_: print('not now'))"
_THREAD = "import threading\nthread = threading.Thread(target=train)\nthread.start()\nthread.join()"
_PACKAGE = {"pkg/__init__.py": "", "pkg/sizes.py": "WIDTH = 32\n", "pkg/train.py": script(imports="from .sizes import WIDTH")}
_PROBED = "if Points.read == 1200: {what}"

# A row a line.
# fmt: off

#: Faults of a scan.
SCANS: dict[str, Fault] = {
    "none": Fault(code=0, select="", cheap=True),
    # The script raises.
    "forward raises at step 1": Fault(source=_raises("forward", 1), code=2, says=_BEFORE, status="crashed", cheap=True),
    "forward raises at step 3": Fault(source=_raises("forward", 3), code=2, says=_AFTER, status="crashed", cheap=True),
    "forward raises at step 10": Fault(source=_raises("forward", 10), code=0),
    "the loader raises at step 1": Fault(source=_raises("loader", 1), code=2, says=_BEFORE, status="crashed"),
    "the loader raises at step 3": Fault(source=_raises("loader", 3), code=2, says=_AFTER, status="crashed", cheap=True),
    "a worker raises": Fault(source=script(item="if Points.read == 70: raise RuntimeError('a fault of the script')", loading=", num_workers=1"), code=2, says=_AFTER, status="crashed"),
    "a worker ends its process": Fault(source=script(item="if torch.utils.data.get_worker_info() and Points.read == 70: os._exit(1)", loading=", num_workers=1"), code=2, says=r"crashed after.*(worker.*exited unexpectedly|Connection)", status="crashed"),
    "a worker hangs": Fault(source=script(item="if Points.read == 70: time.sleep(10**6)", loading=", num_workers=1"), options=("--budget", "8s"), code=2, says=r"no end after .* s.*train\.py:\d+", status="timeout"),
    "the optimizer raises at step 3": Fault(source=script(build=_BROKEN_STEP, optimizer="Broken(model.parameters(), lr=0.1)"), code=2, says=_AFTER, status="crashed", cheap=True),
    "the script raises after step 3": Fault(source=_raises("after the step", 3), code=2, says=_AFTER, status="crashed"),
    "a forward hook raises": Fault(source=script(run="seen = []\ndef look(*_):\n    seen.append(1)\n    if len(seen) == 3: raise RuntimeError('a fault of the script')\nmodel.layers.register_forward_hook(look)\ntrain()"), code=2, says=_AFTER, status="crashed"),
    "a gradient hook raises": Fault(source=script(run="seen = []\ndef look(*_):\n    seen.append(1)\n    if len(seen) == 3: raise RuntimeError('a fault of the script')\nmodel.layers[0].weight.register_hook(look)\ntrain()"), code=2, says=_AFTER, status="crashed"),
    "an exception that cannot be printed": Fault(source=script(step="class Mute(Exception):\n    def __str__(self): raise ValueError\nif steps == 3: raise Mute"), code=2, says=r"crashed after.*Mute", status="crashed"),
    "an exception that is no Exception": Fault(source=script(build="class Foreign(BaseException): pass", step="if steps == 3: raise Foreign('a fault of the script')"), code=2, says=_AFTER, status="crashed"),
    "an exception with a cause": Fault(source=script(step="if steps == 3:\n    try: {}['a']\n    except KeyError as error: raise RuntimeError('a fault of the script') from error"), code=2, says=_AFTER, status="crashed"),
    "endless recursion": Fault(source=script(forward="if Net.calls == 3: return self.forward_deeper(inputs)", build="Net.forward_deeper = lambda self, inputs: self.forward_deeper(inputs)"), code=2, says=r"crashed after.*RecursionError", status="crashed"),
    "the loss is no number": Fault(source=script(step="if steps == 2: model.layers[0].weight.data.fill_(float('nan'))"), code=1, says=r"non-finite"),
    # Memory.
    "MemoryError in forward": Fault(source=script(forward="if Net.calls == 3: raise MemoryError"), code=2, says=r"crashed after.*MemoryError", status="crashed"),
    "memory runs out in the script": Fault(source=script(step="if steps == 3: held = torch.empty(2**36)", build=_LIMIT.format(more=1000)), code=2, says=r"crashed after.*(allocate|memory)", status="crashed"),
    "memory runs out while measuring": Fault(source=script(item=_PROBED.format(what=_LIMIT.format(more=1))), code=0),
    # Signals and ends.
    **{f"{name} {when}": Fault(source=source, code=2, says=says, status=status, signal=name, options=options)
       for name in ("SIGINT", "SIGTERM", "SIGHUP")
       for when, source, says, status, options in (
           ("while importing", "import os, time\nopen(os.path.join(os.environ['MARKS'], 'here'), 'w').close()\ntime.sleep(10**6)\n", r"interrupted.*nothing was recorded", "interrupted", ()),
           ("before the first step", script(run=_HANG + "\ntrain()"), r"interrupted.*nothing was recorded", "interrupted", ()),
           ("while recording", script(step="mark('here'); time.sleep(0.5 if steps < 3 else 10**6)"), r"interrupted.*shows what was seen", "interrupted", ()),
           ("while measuring", script(item=_PROBED.format(what="mark('here'); time.sleep(5)")), r"interrupted.*shows what was seen", "interrupted", ()),
       )},
    "SIGINT, ignored by the script": Fault(source=script(first=_IGNORES, step="if steps == 3: mark('here'); time.sleep(10**6)"), signal="SIGINT", code=2, says=r"interrupted", status=""),
    "SIGKILL while recording": Fault(source=script(step="if steps == 3: " + _HANG), signal="SIGKILL", code=-9, status=""),
    "the script kills itself": Fault(source=script(step="import signal\nif steps == 3: os.kill(os.getpid(), signal.SIGKILL)"), code=2, says=r"SIGKILL.*out of memory", status=""),
    "the script crashes in native code": Fault(source=script(step="import ctypes\nif steps == 3: ctypes.string_at(0)"), code=2, says=r"SIGSEGV.*train\.py:\d+", status=""),
    "killed while measuring": Fault(source=script(item=_PROBED.format(what="import signal; os.kill(os.getpid(), signal.SIGKILL)")), code=2, says=r"SIGKILL.*shows what was seen", status="killed"),
    "os._exit(3) at the start": Fault(source="import os\nos._exit(3)\n", code=2, says=r"os\._exit, status 3", status="exited"),
    "os._exit(3) at step 3": Fault(source=script(step="if steps == 3: os._exit(3)"), code=2, says=r"os\._exit, status 3", status="exited"),
    "sys.exit(3) at step 3": Fault(source=script(step="if steps == 3: sys.exit(3)"), code=2, says=r"exit status 3", status="exited", cheap=True),
    "sys.exit('need --data')": Fault(source="import sys\nsys.exit('need --data')\n", code=2, says=r"need --data", status="exited"),
    "sys.exit(0) at step 3": Fault(source=script(step="if steps == 3: sys.exit(0)"), code=0, cheap=True),
    "raises KeyboardInterrupt": Fault(source=script(step="if steps == 3: raise KeyboardInterrupt"), code=2, says=r"KeyboardInterrupt", status="interrupted"),
    # The script hangs.
    "sleeps at the third step": Fault(source=script(step="if steps == 3: time.sleep(10**6)"), options=("--budget", "8s"), code=2, says=r"no end after .* s.*train\.py:\d+", status="timeout"),
    "sleeps in native code": Fault(source=script(step="import ctypes\nif steps == 3: ctypes.PyDLL(None).sleep(10**6)"), options=("--budget", "8s"), code=2, says=r"no end after .* s.*train\.py:\d+", status="timeout"),
    "a lock that is never free": Fault(source=script(step="import threading\nif steps == 3:\n    lock = threading.Lock()\n    lock.acquire()\n    lock.acquire()"), options=("--budget", "8s"), code=2, says=r"no end after .* s.*train\.py:\d+", status="timeout"),
    "a loader without end": Fault(source=script(build="class Stream(torch.utils.data.IterableDataset):\n    def __iter__(self):\n        while True:\n            i = int(torch.randint(300, ()))\n            yield x[i], y[i]", run="loader = DataLoader(Stream(), 32)\ntrain()"), code=0),
    "a loop without end and without a loader": Fault(source=script(run="while True:\n    i = torch.randint(300, (32,))\n    optimizer.zero_grad()\n    F.cross_entropy(model(x[i]), y[i]).backward()\n    optimizer.step()"), code=0),
    "swallows every exception": Fault(source=script(run="while True:\n    try: train()\n    except BaseException: pass"), code=0),
    "waits on input()": Fault(source=script(first="name = input('Name of the run? ')"), code=2, says=r"EOFError.*scan gives .* no input", status="crashed"),
    # Nothing to judge.
    "never trains": Fault(source="import torch\nprint(torch.ones(2))\n", code=2, says="without training anything", status="never-trained"),
    "is empty": Fault(source="\n", code=2, says="without training anything", status="never-trained"),
    "is a folder": Fault(source="", files={"train.py/model.py": ""}, code=2, says=r"train\.py is a folder", status=""),
    "is not there": Fault(source="", files={"trains.py": ""}, code=2, says=r"no such file; did you mean .*trains\.py\?", status=""),
    "is no Python": Fault(source=b"\x7fELF\x00\x01\xff\xfe", code=2, says=r"(SyntaxError|ValueError|null bytes)", status="crashed"),
    "has a syntax error": Fault(source="def broken(:\n", code=2, says=r"train\.py\", line 1.*SyntaxError", status="crashed"),
    "imports what is not there": Fault(source="import not_a_module_at_all\n", code=2, says=r"not_a_module_at_all", status="crashed"),
    "arguments it does not know": Fault(source=script(first="import argparse; argparse.ArgumentParser().parse_args()"), args=("--lr", "1"), code=2, says=r"exit status 2.*unrecognized arguments: --lr", status="exited"),
    "a module that is not there": Fault(source="", options=("-m", "pkg.train"), code=2, says=r"there is no module pkg, neither in .* nor installed", status=""),
    "a budget too small": Fault(options=("--budget", "0.1s"), code=0, says=r"recording was ended after [\d.]+ s of the budget"),
    "a budget that is no time": Fault(options=("--budget", "soon"), code=2, says=r"--budget soon: give a time", status=""),
    # The report cannot be written.
    "disk full for the HTML": Fault(options=("--html", "/dev/full"), code=2, says=r"html report could not be written to /dev/full: No space left"),
    "disk full for the JSON": Fault(options=("--format", "json", "--output", "/dev/full"), code=2, says=r"json report could not be written to /dev/full: No space left", status=""),
    "disk full for stdout": Fault(stdout="/dev/full", code=2, says=r"could not be written to stdout: No space left"),
    "a report below a file": Fault(options=("--html", "train.py/report.html"), code=2, says=r"html report could not be written to train\.py/report\.html"),
    "a report in place of a folder": Fault(files={"there/a": ""}, options=("--html", "there"), code=2, says=r"html report could not be written to there: Is a directory"),
    "a report where nothing may be written": Fault(options=("--html", "/proc/report.html"), code=2, says=r"html report could not be written to /proc/report\.html"),
    "evidence that cannot be written": Fault(options=("--save-evidence", "/dev/full"), code=2, says=r"evidence could not be written to /dev/full: No space left"),
    "disk full while recording": Fault(source=script(step="import resource\nif steps == 3: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))"), code=2, says=r"measurements could no longer be written to .*TMPDIR", status=""),
    # What the script does to its process.
    "changes its folder": Fault(source=script(build="os.makedirs('runs/a', exist_ok=True)\nos.chdir('runs/a')"), code=0),
    "closes stdout and stderr": Fault(source=script(build="sys.stdout.close(); sys.stderr.close(); os.close(1); os.close(2)"), code=0),
    "closes every descriptor": Fault(source=script(build="os.closerange(0, 256)"), code=0),
    "replaces what sys holds": Fault(source=script(build="sys.argv = None; sys.stdout = sys.stderr = None; sys.excepthook = None; sys.exit = None"), code=0),
    "replaces builtins": Fault(source=script(build="import builtins, json, time\nbuiltins.print = None\njson.dumps = None\ntime.sleep = lambda s: None"), code=0),
    "clears its environment": Fault(source=script(build="marks = os.environ['MARKS']; os.environ.clear()"), code=0),
    "trains in a thread": Fault(source=script(run=_THREAD), code=0, cheap=True),
    "crashes in a thread": Fault(source=script(run=_THREAD, step="if steps == 3: raise RuntimeError('a fault of the script')"), code=2, says=r"a fault of the script", status="crashed"),
    "leaves a thread running": Fault(source=script(build="import threading\nthreading.Thread(target=time.sleep, args=(10**6,)).start()"), code=0),
    "forks": Fault(source=script(build="pid = os.fork()\nif not pid: time.sleep(10**6)"), code=0),
    "trains in a forked process": Fault(source=script(run="pid = os.fork()\nif not pid:\n    train()\n    os._exit(0)\nos.waitpid(pid, 0)"), code=2, says=r"process.* of its own", status="never-trained"),
    "trains in a process of multiprocessing": Fault(source=script(run="if __name__ == '__main__':\n    import multiprocessing\n    p = multiprocessing.get_context('spawn').Process(target=train)\n    p.start(); p.join()"), options=("--budget", "20s"), code=0),
    "trains in a subprocess": Fault(source="import subprocess, sys\nsubprocess.run([sys.executable, 'real.py'], check=True)\n", files={"real.py": "import torch"}, code=2, says=r"process.* of its own", status="never-trained"),
    "leaves a subprocess running": Fault(source=script(build="import subprocess\nsubprocess.Popen(['sleep', '100000'])"), code=0),
    "leaves a subprocess running in a session of its own": Fault(source=script(build="import subprocess\nsubprocess.Popen(['sleep', '100000'], start_new_session=True)"), code=0),
    "spawned workers": Fault(source=script(run="if __name__ == '__main__': train()", loading=", num_workers=1, multiprocessing_context='spawn'"), code=0),
    "registers atexit handlers": Fault(source=script(build="import atexit\natexit.register(lambda: open('atexit.txt', 'w').close())"), code=0),
    "its own signal handlers": Fault(source=script(first=_IGNORES), code=0),
    "an alarm": Fault(source=script(build="import signal\ndef late(*_): raise TimeoutError('a fault of the script')\nsignal.signal(signal.SIGALRM, late)", step="if steps == 3: signal.alarm(1); time.sleep(5)"), code=2, says=_AFTER, status="crashed"),
    "patches Module.__call__": Fault(source=script(build="call = nn.Module.__call__\nnn.Module.__call__ = lambda self, *a, **k: call(self, *a, **k)"), code=0, cheap=True),
    "patches Tensor.backward": Fault(source=script(build="backward = torch.Tensor.backward\ntorch.Tensor.backward = lambda self, *a, **k: backward(self, *a, **k)"), code=0, cheap=True),
    "patches Optimizer.step": Fault(source=script(build="step = torch.optim.AdamW.step\ntorch.optim.AdamW.step = lambda self, *a, **k: step(self, *a, **k)"), code=0),
    "patches DataLoader.__iter__": Fault(source=script(build="walk = DataLoader.__iter__\nDataLoader.__iter__ = lambda self: walk(self)"), code=0),
    "patches a function with a broken one": Fault(source=script(build="def broken(*_, **__): raise RuntimeError('a fault of the script')\ntorch.Tensor.backward = broken"), code=2, says=_BEFORE, status="crashed"),
    "default dtype float64": Fault(source=script(first="import torch\ntorch.set_default_dtype(torch.float64)"), code=0),
    "default device": Fault(source=script(first="import torch\ntorch.set_default_device('cpu')"), code=0),
    "deterministic algorithms": Fault(source=script(first="import torch\ntorch.use_deterministic_algorithms(True)"), code=0),
    "anomaly detection": Fault(source=script(first="import torch\ntorch.autograd.set_detect_anomaly(True)"), code=0),
    "warnings are errors": Fault(source=script(first="import warnings\nwarnings.simplefilter('error')"), code=0, cheap=True),
    "a tracing function": Fault(source=script(first="import sys\nsys.settrace(lambda *_: None)"), code=0),
    "calls trainlint itself": Fault(source=script(run="import trainlint\nassert trainlint.check(model, loader, loss_fn=F.cross_entropy, only=['init-loss'])\ntrain()"), code=0),
    "trains under asyncio": Fault(source=script(run="import asyncio\nasync def main(): train()\nasyncio.run(main())"), code=0),
    # Files.
    "writes checkpoints": Fault(source=script(epoch="torch.save(model.state_dict(), 'best.pt'); os.makedirs('runs', exist_ok=True); open('runs/log.txt', 'a').write('x')"), files={"best.pt": "mine"}, code=0, cheap=True),
    "deletes its own files": Fault(source=script(build="import shutil\nos.remove(__file__); os.remove('config.yaml'); shutil.rmtree('data'); assert not os.path.exists('data')\nos.makedirs('data'); assert os.listdir('data') == []; open('data/new.txt', 'w').close(); shutil.rmtree('data', ignore_errors=True)"), files={"config.yaml": "mine", "data/a/b.txt": "mine"}, code=0),
    "moves and links its own files": Fault(source=script(build="import shutil\nshutil.move('config.yaml', 'old.yaml'); os.rename('data', 'old'); os.symlink('old.yaml', 'link'); assert open('link').read() == 'mine'\nos.truncate('log.txt', 0); os.chmod('log.txt', 0o600); os.utime('log.txt', (1, 1)); shutil.copy('log.txt', 'copy.txt'); shutil.copy2('old.yaml', 'log.txt'); os.link('copy.txt', 'second.txt')"), files={"config.yaml": "mine", "data/a/b.txt": "mine", "log.txt": "mine"}, code=0),
    "writes with pathlib": Fault(source=script(build="import pathlib\npathlib.Path('log.txt').write_text('x'); pathlib.Path('new.txt').touch(); pathlib.Path('config.yaml').unlink(); pathlib.Path('d').mkdir()"), files={"config.yaml": "mine", "log.txt": "mine"}, code=0),
    "prints without end": Fault(source=script(step="sys.stdout.write('x' * 2**20 + '\\n')\nif steps == 3:\n    while True: sys.stdout.write('y' * 2**20)"), options=("--budget", "8s"), code=2, says=r"no end after", status="timeout"),
    "prints what is not UTF-8": Fault(source=script(step="sys.stdout.buffer.write(b'\\xff\\xfe\\x00\\x1b[31m')\nif steps == 3: raise RuntimeError('a fault of the script')"), code=2, says=_AFTER, status="crashed"),
    "source in Latin-1": Fault(source="# coding: latin-1\n# Zürich\n".encode("latin-1") + script().encode(), code=0),
    "source that is not UTF-8": Fault(source=b"name = 'Z\xfcrich'\n", code=2, says=r"(SyntaxError|UTF-8|utf-8)", status="crashed"),
    "source with a byte order mark": Fault(source=b"\xef\xbb\xbf" + script().replace("\n", "\r\n").encode(), code=0),
    "a name with spaces and accents": Fault(name="mein Prüflauf (1)/träin 火.py", code=0, cheap=True),
    "a module with relative imports": Fault(source="", files=_PACKAGE, options=("-m", "pkg.train"), code=0),
}

#: Faults of a watch. A run is short, so that it comes to its end.
_SHORT = {"epoch": "if epoch == 2: break"}
WATCHES: dict[str, Fault] = {
    "none": Fault(source=script(**_SHORT), code=0, status="recorded"),
    "forward raises at step 3": Fault(source=_raises("forward", 3), code=2, says=r"Traceback.*train\.py\", line \d+.*crashed after \d steps: RuntimeError: a fault of the script", status="crashed"),
    "raises before training": Fault(source="raise ValueError('no data here')\n", code=2, says=r"Traceback.*crashed before its first training step: ValueError: no data here", status="crashed"),
    "a worker raises": Fault(source=script(item="if Points.read == 70: raise RuntimeError('a fault of the script')", loading=", num_workers=1"), code=2, says=r"Traceback.*crashed after", status="crashed"),
    "the loss is no number": Fault(source=script(step="if steps == 9: model.layers[0].weight.data.fill_(float('nan'))", **_SHORT), code=1, says=r"non-finite", status="recorded"),
    "memory runs out in the script": Fault(source=script(step="if steps == 9: held = torch.empty(2**36)", build=_LIMIT.format(more=1000)), code=2, says=r"Traceback.*(allocate|memory)", status="crashed"),
    **{f"{name} while training": Fault(source=script(step="if steps == 5: mark('here'); time.sleep(10**6)"), signal=name, code=2, says=r"was interrupted after \d steps", status="interrupted") for name in ("SIGINT", "SIGTERM", "SIGHUP")},
    "SIGINT while importing": Fault(source="import os, time\nopen(os.path.join(os.environ['MARKS'], 'here'), 'w').close()\ntime.sleep(10**6)\n", signal="SIGINT", code=2, says=r"was interrupted before its first", status="interrupted"),
    "SIGKILL while training": Fault(source=script(step="if steps == 5: " + _HANG), signal="SIGKILL", code=-9, status=""),
    "the script kills itself": Fault(source=script(step="import signal\nif steps == 9: os.kill(os.getpid(), signal.SIGKILL)"), code=2, says=r"SIGKILL", status="killed"),
    "the script crashes in native code": Fault(source=script(step="import ctypes\nif steps == 9: ctypes.string_at(0)"), code=2, says=r"SIGSEGV", status="killed"),
    "os._exit(3) at step 9": Fault(source=script(step="if steps == 9: os._exit(3)"), code=2, says=r"ended with status 3", status="killed"),
    "sys.exit(3) at step 9": Fault(source=script(step="if steps == 9: sys.exit(3)"), code=2, says=r"exit status 3", status="exited"),
    "its own signal handlers": Fault(source=script(first=_IGNORES, **_SHORT), code=0, status="recorded"),
    "closes stdout and stderr": Fault(source=script(build="sys.stdout.close(); sys.stderr.close(); os.close(1); os.close(2)", **_SHORT), code=0, status="recorded"),
    "closes every descriptor": Fault(source=script(build="os.closerange(0, 256)", **_SHORT), code=0, status="recorded"),
    "changes its folder": Fault(source=script(build="os.chdir('/')", **_SHORT), code=0, status="recorded"),
    "trains in a thread": Fault(source=script(run=_THREAD, **_SHORT), code=0, status="recorded"),
    "forks": Fault(source=script(build="pid = os.fork()\nif not pid:\n    time.sleep(1)\n    os._exit(0)", **_SHORT), code=0, status="recorded"),
    "trains in a subprocess": Fault(source="import subprocess, sys\nsubprocess.run([sys.executable, 'real.py'], check=True)\n", files={"real.py": "import torch"}, code=2, says=r"process", status="recorded"),
    "waits on input()": Fault(source=script(first="name = input('Name of the run? ')"), code=2, says=r"EOFError", status="crashed"),
    "never trains": Fault(source="import torch\nprint(torch.ones(2))\n", code=2, says=r"no optimizer step was seen", status="recorded"),
    "never imports torch": Fault(source="print('hello')\n", code=2, says=r"no optimizer step was seen", status="recorded"),
    "has a syntax error": Fault(source="def broken(:\n", code=2, says=r"SyntaxError", status="crashed"),
    "a folder that cannot be made": Fault(source=script(**_SHORT), options=("--dir", "train.py/watch"), code=2, says=r"train\.py/watch", status=""),
    "disk full for the JSON": Fault(source=script(**_SHORT), options=("--format", "json", "--output", "/dev/full"), code=2, says=r"json report could not be written to /dev/full: No space left", status=""),
    "warnings are errors": Fault(source=script(first="import warnings\nwarnings.simplefilter('error')", **_SHORT), code=0, status="recorded"),
}

#: Faults of reading a log. ``name`` is the log.
CURVES: dict[str, Fault] = {
    "is not there": Fault(source="", name="log.csv", code=2, says=r"log\.csv.*[Nn]o such file", status=""),
    "is a folder": Fault(source="", name="runs", files={"runs/a.txt": ""}, code=2, says=r"no .*log|no numbers|found no", status=""),
    "is empty": Fault(source="\n", name="log.csv", code=2, says=r"log\.csv.*(empty|nothing)", status=""),
    "is binary": Fault(source=bytes(range(256)) * 9, name="log.csv", code=2, says=r"binary", status=""),
    "never ends": Fault(source="", name="/dev/zero", code=2, says=r"/dev/zero", status=""),
    "disk full for the JSON": Fault(source="epoch,loss\n" + "".join(f"{i},{1 / (i + 1)}\n" for i in range(40)), name="log.csv", options=("--format", "json", "--output", "/dev/full"), code=2, says=r"/dev/full could not be written: No space left", status=""),
    "disk full for stdout": Fault(source="epoch,loss\n" + "".join(f"{i},{1 / (i + 1)}\n" for i in range(40)), name="log.csv", options=("--format", "json", "--output", "-"), stdout="/dev/full", code=2, says=r"stdout: No space left", status=""),
}
