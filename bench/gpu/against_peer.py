"""The peer on the same device, with the same pictures and weights: pictures an hour of either."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

from bench import peer
from bench.compare import prepared
from bench.gpu import run
from bench.gpu.given import Found, Given, MissingError, Target
from bench.measuring import table

_PAIRS = (("chelsea", "starry-night"), ("summer-palace", "great-wave"), ("coffee", "the-scream"))
_SIZE_PX, _EVALUATIONS, _STYLE_WEIGHT = 512, 300, 300.0
_WANTED_RATIO = 100.0
_HOW_TO_CARRY = (
    f"the peer is not here: `pip download --no-deps {peer.REQUIREMENT}` where there is a network, "
    "carry the wheel, and give --peer-path WHEEL"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """One picture of the peer: its whole process, and the loop alone."""

    pair: str
    process_s: float
    loop_s: float


def measure(given: Given, found: Found) -> None:
    """The peer's pictures, one for each process, as it has no other way. Raises MissingError."""
    if given.peer_path is None or not given.peer_path.exists():
        raise MissingError(_HOW_TO_CARRY)
    folder = given.folder / "peer"
    folder.mkdir(parents=True, exist_ok=True)
    peer.save_weights(folder)
    found["made"] = []
    for content, style in given.or_toy(_PAIRS, _PAIRS[:1]):
        if found["made"] and not given.has(found["made"][-1].process_s):
            break
        size_px = given.or_toy(_SIZE_PX, 64)
        made = peer.run(
            *prepared((content, style), folder, size_px),
            size_px=size_px,
            settings=peer.Settings(
                evaluations=given.or_toy(_EVALUATIONS, 1), style_weight=_STYLE_WEIGHT
            ),
            device=given.on.type,
            folder=folder,
            path=given.peer_path,
        )
        one = Made(pair=f"{content}, {style}", process_s=made.usage.process_s, loop_s=made.loop_s)
        found["made"].append(one)
        given.say(f"peer, {one.pair}: {one.process_s:.1f} s, its loop {one.loop_s:.1f} s")


def to_markdown(found: Found) -> str:
    """A line for each picture."""
    rows = [
        [each.pair, f"{each.process_s:.2f}", f"{each.loop_s:.2f}", f"{3600 / each.process_s:.0f}"]
        for each in found["made"]
    ]
    shown = table(["content, style", "process s", "loop s", "pictures an hour"], rows)
    return (
        f"{peer.REQUIREMENT}, L-BFGS, {_EVALUATIONS} evaluations at {_SIZE_PX} px, the same weights "
        f"of VGG-19, a process for each picture.\n\n{shown}"
    )


def targets(all_found: Mapping[str, Found]) -> list[Target]:
    """The pictures an hour of the run of many rows, by those of the peer."""
    what, wanted = "pictures an hour of the run, by the peer's", f"{_WANTED_RATIO:g} times"
    made: list[Made] = all_found.get("peer", {}).get("made", [])
    ours = run.pictures_per_s(all_found)
    if not made or ours is None:
        return [Target(what=what, wanted=wanted)]
    ratio = ours * fmean(each.process_s for each in made)
    loop = ours * fmean(each.loop_s for each in made)
    return [
        Target(
            what=what,
            wanted=wanted,
            measured=f"{ratio:.0f} times; by the peer's loop alone {loop:.0f}",
            is_reached=ratio >= _WANTED_RATIO,
        )
    ]
