"""When enough was seen, what happens then, and how a script runs on to its next training."""

from __future__ import annotations

import time

from trainlint.record.conditions import called_sometimes
from trainlint.record.following import another_training_follows
from trainlint.record.listeners.books import Books, StopRecording
from trainlint.record.parameters import parameters_of
from trainlint.record.recording import Recording
from trainlint.record.retained import Marks
from trainlint.record.seen import Iteration, Loader
from trainlint.record.shadows import ShadowWatch
from trainlint.record.verify import TapeKeeper

__all__ = ["Ending"]

#: Seconds that an earlier training is let run on until the next begins, and after how many its epochs are cut.
_REST, _REST_UNCUT = 30.0, 12.0


class Ending(Books):
    """Ends the recording; between two trainings it lets the script run on unobserved."""

    def _finish_if_done(self, iteration: Iteration | None) -> None:
        if not self.on:
            return
        self._check_time()
        steps = self.steps_done
        loaders = self.recording.loaders_of("train")
        if not loaders:
            if steps >= 2 * self.settings.steps:
                self._finish()
            return
        epochs = sum(1 for entry in loaders for i in entry.iterations if i.phase == "train")
        if iteration is None:
            if steps >= 8 * self.settings.steps and epochs >= 2:
                self._finish()
        elif (iteration.phase == "train" and _comes_again(iteration) and iteration.batches >= 2 and steps) or (
            epochs >= 2 and steps >= 2 * self.settings.steps
        ):
            self._finish()

    def _check_time(self) -> None:
        if not self._running:
            self._running, self.begun = True, time.monotonic()
        spent = time.monotonic() - self.begun
        if (spent > 0.35 * self.settings.budget and self.steps_done >= 2) or spent > 0.8 * self.settings.budget:
            self.recording.cut_short = 2 * self.steps_done <= self.settings.steps
            if not self.recording.notes:
                self.recording.notes.append(
                    f"recording was ended after {spent:.1f} s of the budget with {self.steps_done} optimizer steps seen"
                )
            self._finish()

    def finish(self) -> None:
        """Hand the recording over, once."""
        if self.finished:
            return
        self.finished, self.enabled = True, False
        self.writer.stop()
        self.recording.kept = list(self.marks.kept.values())
        self.recording.casts = dict(self.writer.casts)
        self.recording.seconds = time.monotonic() - self.begun
        for seen in self.recording.schedulers:
            seen.sometimes |= called_sometimes(self.frames, seen.scheduler, "step")
        if self.on_finish is not None:
            self.on_finish(self.recording)

    def _finish(self) -> None:
        if self.on_finish is None:
            return
        self.goes_on = self.trainings < self.most_trainings and bool(self.recording.training) and another_training_follows(self.frames)
        self.finish()
        if not self.goes_on:
            raise StopRecording
        self._rest()

    def _rest(self) -> None:
        """Let the script train on until it builds the optimizer of its next training, which is recorded afresh."""
        earlier = self.recording
        self.recording = Recording(self.frames, earlier.provenance, places=earlier.places, loaded=earlier.loaded, modes=earlier.modes)
        self.recording.trained_before = {id(p) for o in earlier.training for p in o.parameters}
        self._trained = [o.optimizer for o in earlier.training]  # kept alive, so that no other tensor gets their ids
        for module in (m for model in earlier.models() for m in model.modules()):
            if any(id(p) in self.recording.trained_before for p in parameters_of(module, recurse=False)):
                self.recording.loaded[id(module)] = "an earlier training of the script"
        self.keeper = TapeKeeper(self.recording, self.writer)
        for seen in earlier.loaders:
            self._loaders[seen.loader] = entry = Loader(seen.loader, seen.index, seen.place)
            self.recording.loaders.append(entry)
        self._optimizers, self._schedulers = {}, {}
        self._used_places = {o.place for o in earlier.optimizers if o.place is not None}
        self._current, self._recent, self._handed, self._pending_inputs = [], [], [], []
        self._last_batch, self._step_ended = None, None
        self.marks, self.writer.shadows, self.writer.casts = Marks(self.frames), ShadowWatch(), {}
        self._rest_begun = time.monotonic()
        self._rest_batches: dict[int, int] = {}
        self.enabled = self.resting = True

    @property
    def cut_validation(self) -> bool:
        """Whether a validation pass was cut short after training steps."""
        passes = (i for entry in self.recording.loaders for i in entry.iterations)
        return self.steps_done > 0 and any(i.cut_short and i.phase == "val" for i in passes)

    def rests(self, iterator: object = None) -> bool:
        """While resting: whether a pass over a loader may go on. Ends the script when the next training is too long in coming."""
        spent = time.monotonic() - self._rest_begun
        if spent > min(_REST, self.settings.budget / 4):
            raise StopRecording
        self._rest_batches[id(iterator)] = batches = self._rest_batches.get(id(iterator), 0) + 1
        return spent < _REST_UNCUT or batches <= self.settings.train_batches

    def wake(self) -> None:
        """The next training begins."""
        self.resting, self.finished, self.goes_on = False, False, False
        self.trainings += 1
        self.on_progress("the script's next training")


def _comes_again(iteration: Iteration) -> bool:
    """Whether its loader has been trained on in an earlier pass; a look at one batch before the loop is none."""
    return any(i.phase == "train" for i in iteration.loader.iterations[: iteration.number])
