"""`save index`, killed or asked to end at random moments, and run again until it has finished.

    python killed.py FOLDER --n 200 [--signal KILL|TERM] [--asr off] [--media ../shared/media] [--seed 0]

Half of the kills come by the clock, anywhere between the first import and the end; half at a random one
of all writes, syncs, cuts and renames of the store, so that commits, the building of graphs and the closing
of the catalog get their share. After each the store opens, `verify` is clean, every path that it has is what
an undisturbed run makes of it, and all that was there or told before is there. Each run that is not cut short
must lead to the store of an undisturbed one. Prints one line of JSON; exit code 1 where something was wrong.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import runs

from savecli.store import seal
from savecli.store.folder import exists

MOST_IN_A_ROW = 12
KILLED_IN_WRITE = 9
INTERRUPTED = 130


class Chains:
    """Runs that are cut short, one after the other, over one store until it is finished."""

    def __init__(self, place: runs.Place, how: str, seed: int) -> None:
        self._place = place
        self._how = how
        self._rng = random.Random(seed)
        self.truth = runs.undisturbed(place)
        self.wrong: list[str] = []
        self.phases: Counter[str] = Counter()
        self.codes: Counter[str] = Counter()
        self.n_sealed: Counter[str] = Counter()
        self.n_ended = self.n_chains = 0

    def run(self, n: int) -> None:
        while self.n_ended < n:
            shutil.rmtree(self._place.home, ignore_errors=True)
            self._chain(n)
            self.n_chains += 1

    def _chain(self, n: int) -> None:
        state: runs.State = {}
        for number in range(MOST_IN_A_ROW + 1):
            if number == MOST_IN_A_ROW or self.n_ended == n:
                done = self._place.finish()
            else:
                by_clock = self._how == "TERM" or self._rng.random() < 0.5 or not self._place.faults
                done = self._by_clock(state) if by_clock else self._by_change(state)
            if done.code in (0, 1):
                self._note(done, "ran to its end", runs.judge_end(self._place, self.truth, done))
                return
            self.n_ended += 1
            name = f"by {'clock' if by_clock else 'change'}, {done.run.phase()}"
            self.phases[name] += 1
            before = state
            try:
                state, wrong = runs.judge(self._place, self.truth, before, done.run.acknowledged)
            except Exception as error:  # noqa: BLE001 - whatever it is, the store does not open
                wrong = [f"{type(error).__name__}: {error}"]
            self._note(done, name, wrong + self._bad_end(done))

    def _note(self, done: runs.Ended, name: str, wrong: list[str]) -> None:
        self.codes[str(done.code)] += 1
        if left := runs.left_behind(done.run.mark):
            wrong = [*wrong, f"processes {left} are left behind"]
        self.wrong += [f"{self._how}, chain {self.n_chains}, {name}: {said}" for said in wrong]

    def _bad_end(self, done: runs.Ended) -> list[str]:
        """What is wrong with how it ended, as far as it had a say in that."""
        wrong = ["it showed a traceback"] if "Traceback" in done.said else []
        if self._how == "KILL":
            return wrong + ([] if done.code in (-signal.SIGKILL, KILLED_IN_WRITE) else [f"code {done.code}"])
        # Before it listens and after it is done, the signal ends it as it does any process.
        if done.code == -signal.SIGTERM and done.run.phase() != "reading":
            is_whole = done.run.phase() == "starting" or seal.is_there(self._place.store / "catalog.db")
            return wrong if is_whole else [*wrong, "it had told its end, and was not done"]
        if done.code != INTERRUPTED:
            return [*wrong, f"code {done.code}: {done.said}"]
        if "the next run goes on from here" not in done.said:
            wrong.append(f"it said {done.said!r}")
        if exists(self._place.store):
            self.n_sealed["yes" if seal.is_there(self._place.store / "catalog.db") else "no"] += 1
        return wrong

    def _by_clock(self, state: runs.State) -> runs.Ended:
        after_s = self._rng.uniform(0, self.truth.left_s(state))
        run, listener = self._place.start()
        if self._rng.random() < 0.5:  # else most would come while models load
            run.wait_until(lambda: run.phase() != "starting", self.truth.whole_s)
            after_s *= 0.5
        run.wait_until(lambda: False, after_s)
        run.process.send_signal(signal.SIGKILL if self._how == "KILL" else signal.SIGTERM)
        code, said = run.end(listener)
        return runs.Ended(run=run, code=code, said=said)

    def _by_change(self, state: runs.State) -> runs.Ended:
        share = 1 - len(state) / (len(self.truth.state) + 2)
        number = self._rng.randint(1, max(1, round(share * self.truth.n_changes)))
        return self._place.finish(**self._place.armed(self._place.home, 1, number))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--n", type=int, default=20)
    parser.add_argument("--signal", choices=("KILL", "TERM"), default="KILL")
    parser.add_argument("--asr", default="off")
    parser.add_argument("--media", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    started = time.monotonic()
    chains = Chains(runs.open_place(given.folder, media=given.media, asr=given.asr), given.signal, given.seed)
    chains.run(given.n)
    shutil.rmtree(given.folder)
    record = {"signal": given.signal, "asr": given.asr, "n": chains.n_ended, "n_chains": chains.n_chains}
    record |= {"n_paths": len(chains.truth.state), "n_changes": chains.truth.n_changes}
    record |= {"phases": dict(sorted(chains.phases.items())), "codes": dict(sorted(chains.codes.items()))}
    record |= {"sealed": chains.n_sealed} if given.signal == "TERM" else {}
    print(json.dumps({**record, "wrong": chains.wrong, "s": round(time.monotonic() - started, 1)}))
    sys.exit(bool(chains.wrong))


if __name__ == "__main__":
    main()
