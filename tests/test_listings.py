"""Versions of many objects, against what each has, and how many requests they take."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from nst.storage import files, listings, s3, stores
from nst.storage.files import Version
from nst.storage.s3 import Page
from tests import servers
from tests.buckets import bucket_behind
from tests.faults import FaultProxy

PAGE = 1000


@dataclass(slots=True)
class Bucket:
    """A bucket in memory, with pages of 1000 as S3 has them, and what was asked of it."""

    versions: Mapping[str, str]
    may_list: bool = True
    unlisted: Sequence[str] = ()
    pages: list[tuple[str, str]] = field(default_factory=list)
    looks: list[str] = field(default_factory=list)

    @property
    def num_requests(self) -> int:
        return len(self.pages) + len(self.looks)

    def page_after(self, bucket: str, prefix: str, key: str, **_: object) -> Page | None:
        self.pages.append((prefix, key))
        if not self.may_list:
            return None
        keys = sorted(k for k in self.versions if k.startswith(prefix) and k > key)
        shown = keys[:PAGE]
        told = {k: Version(self.versions[k]) for k in shown if k not in self.unlisted}
        return Page(told, shown[-1] if len(keys) > PAGE else None)

    def version_of(self, uri: str, **_: object) -> Version:
        self.looks.append(s3.split(uri)[1])
        return Version(self.versions.get(s3.split(uri)[1], ""))


@pytest.fixture
def in_memory(monkeypatch: pytest.MonkeyPatch) -> type[Bucket]:
    def make(*arguments: object, **options: object) -> Bucket:
        made = Bucket(*arguments, **options)  # type: ignore[arg-type]
        monkeypatch.setattr(s3, "page_after", made.page_after)
        monkeypatch.setattr(s3, "version_of", made.version_of)
        return made

    return make  # type: ignore[return-value]


def objects(folder: str, count: int) -> dict[str, str]:
    return {f"{folder}/{n:08}.jpg": f"version {n}" for n in range(count)}


def asked(wanted: Sequence[str]) -> Mapping[str, str]:
    return listings.versions(f"s3://b/{key}" for key in wanted)


def expected(bucket: Bucket, wanted: Sequence[str]) -> Mapping[str, str]:
    return {f"s3://b/{key}": bucket.versions[key] for key in wanted if key in bucket.versions}


def test_all_of_a_folder_takes_a_request_for_a_thousand(in_memory: type[Bucket]) -> None:
    bucket = in_memory(objects("in", 10_000))
    assert asked(list(bucket.versions)) == expected(bucket, list(bucket.versions))
    assert bucket.num_requests <= 13
    assert {prefix for prefix, _ in bucket.pages} == {"in/"}


def test_a_few_in_a_large_folder_are_asked_for_one_by_one(in_memory: type[Bucket]) -> None:
    bucket = in_memory(objects("in", 50_000))
    wanted = list(bucket.versions)[::10_000]
    assert asked(wanted) == expected(bucket, wanted)
    assert bucket.num_requests <= len(wanted) + 1


def test_what_lies_between_and_beyond_is_jumped_over(in_memory: type[Bucket]) -> None:
    bucket = in_memory(objects("in", 50_000))
    keys = list(bucket.versions)
    wanted = [*keys[5000:5100], *keys[40_000:40_100]]
    assert asked(wanted) == expected(bucket, wanted)
    # What is between a key and the same without its last letter is the most that is too much.
    assert bucket.num_requests <= 3
    assert min(key for _, key in bucket.pages) > keys[4900]


@pytest.mark.parametrize("seed", range(20))
def test_no_choice_of_keys_costs_more_than_asking_for_each(
    in_memory: type[Bucket], seed: int
) -> None:
    generator = random.Random(seed)
    folders = [f"{'xyz'[n % 3]}/{n}" for n in range(generator.randint(1, 30))]
    there = {
        key: version
        for folder in folders
        for key, version in objects(folder, generator.choice([1, 30, 3000])).items()
    }
    bucket = in_memory(there)
    wanted = [key for key in there if generator.random() < generator.choice([0.001, 0.1, 0.9])]
    wanted += [f"{folder}/none.jpg" for folder in folders[:3]]
    assert asked(wanted) == expected(bucket, wanted)
    assert bucket.num_requests <= len(wanted) + len(folders)


def test_what_is_in_many_small_folders_is_listed_together(in_memory: type[Bucket]) -> None:
    there = {f"in/{n:04}/{name}.jpg": f"{n} {name}" for n in range(500) for name in "abc"}
    bucket = in_memory(there)
    assert asked(list(there)) == expected(bucket, list(there))
    assert bucket.num_requests <= 3


def test_without_the_right_to_list_each_is_asked_for(in_memory: type[Bucket]) -> None:
    bucket = in_memory(objects("in", 100), may_list=False)
    wanted = list(bucket.versions)
    assert asked(wanted) == expected(bucket, wanted)
    assert sorted(bucket.looks) == wanted


def test_what_a_list_lacks_is_left_out_and_nothing_else(in_memory: type[Bucket]) -> None:
    bucket = in_memory(objects("in", 3000), unlisted=["in/00000005.jpg"])
    wanted = [*bucket.versions, "in/none.jpg"]
    assert expected(bucket, wanted).items() - asked(wanted).items() == {
        ("s3://b/in/00000005.jpg", "version 5")
    }


def test_a_version_is_that_of_a_read_wherever_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a disk, and on a server by a list and by a look at each; of what has none, none is told."""
    monkeypatch.setattr(files, "TICK_NS", 0)
    keys = ["a.png", "in/a b+c%.png", "in/\u6d6e\u4e16.png", "in/a.png", "in/b/a.png"]
    for key in keys:
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).write_bytes(key.encode())
    with FaultProxy(servers.moto_url()) as proxy:
        bucket = bucket_behind(proxy, {key: key.encode() for key in keys}, monkeypatch)
        there = [f"{base}/{key}" for base in (tmp_path, f"s3://{bucket}") for key in keys]
        none = [f"{tmp_path}/none", f"s3://{bucket}/none", "https://host/a.png", "memory://a/b.png"]
        found = listings.versions([*there, *none])
        assert proxy.num_requests == 1
        assert found == {uri: stores.read(uri).version.text for uri in there}
        assert listings.versions([f"s3://{bucket}/a.png"]).items() <= found.items()
