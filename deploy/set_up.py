#!/usr/bin/env python3
"""Set up a Prefect server for nst: work pool and queues, variables, automations, deployments.

Run it again after any change: it creates what is missing and updates what differs; a variable that is
not given keeps its value. These steps are only here: deploy/README.md, compose.yaml and
kubernetes/set-up.yaml call this script.
"""

import argparse
import asyncio
import copy
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import (
    VariableCreate,
    VariableUpdate,
    WorkPoolCreate,
    WorkPoolUpdate,
)
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL
from prefect.workers.process import ProcessWorker

HERE = Path(__file__).resolve().parent
POOL = "nst"
# A worker takes runs from the first queue before those in the second: ad hoc runs before nightly runs.
QUEUES = {"adhoc": 1, "nightly": 2}
POOL_TYPES = ("process", "kubernetes")
# By their names in prefect.yaml.
CODE = ("installed", "git", "image")
NOTIFICATION_BLOCK = "nst-failed-rows"


class SetUpError(Exception):
    """The message says what was expected, what was found, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """A setting, from the command line or else from the environment."""

    variable: str
    help: str
    choices: tuple[str, ...] | None = None


OPTIONS = {
    "manifest": Option(
        variable="NST_MANIFEST",
        help="manifest of the nightly run, an absolute path or a URL; stored as a Prefect Variable",
    ),
    "output": Option(
        variable="NST_OUTPUT",
        help="output of the nightly run, an absolute path or a URL; stored as a Prefect Variable",
    ),
    "pool_type": Option(
        variable="NST_POOL_TYPE",
        help="how workers execute a run: process, which is the default, or kubernetes",
        choices=POOL_TYPES,
    ),
    "code": Option(
        variable="NST_CODE",
        help="where a run finds the code: installed on its machine, which is the default; git, "
        "fetched by each run; image, built and pushed now and installed in it",
        choices=CODE,
    ),
    "repository": Option(
        variable="NST_REPOSITORY",
        help="with git: the repository to clone; stored as a Prefect Variable",
    ),
    "release": Option(
        variable="NST_RELEASE",
        help="with git: its tag or branch; stored as a Prefect Variable",
    ),
    "image": Option(
        variable="NST_IMAGE",
        help="with kubernetes: the image's name in your registry, with its tag",
    ),
    "gpus": Option(
        variable="NST_GPUS",
        help="with kubernetes: GPUs of a job, 1 by default; 0 for nodes without, and an image "
        "without CUDA",
    ),
    "pull_secret": Option(
        variable="NST_PULL_SECRET",
        help="with kubernetes: the Secret with which the image is pulled, if it needs one",
    ),
    "bucket": Option(variable="NST_BUCKET", help="an S3 bucket to create if it does not exist"),
}
# Prefect Variables by the options that they keep.
VARIABLES = {name: f"nst_{name}" for name in ("manifest", "output", "repository", "release")}


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0, or 1 after one message that says what to do."""
    try:
        given = settings(arguments)
        check(given)
        asyncio.run(prepare(given))
        deploy(given)
    except SetUpError as exc:
        why = str(exc)
    except httpx.HTTPError as exc:
        why = f"expected {PREFECT_API_URL.value()} to do as it is told, found: {exc}"
        if isinstance(exc, httpx.HTTPStatusError) and exc.response.status_code == 401:
            why = (
                f"expected {PREFECT_API_URL.value()} to let us in, found 401; set "
                "PREFECT_API_AUTH_STRING to what the server has as PREFECT_SERVER_API_AUTH_STRING"
            )
    else:
        return 0
    print(f"set_up: {why}", file=sys.stderr)
    return 1


def settings(arguments: Sequence[str] | None) -> Mapping[str, str]:
    """The given settings by the names of OPTIONS: from the command line, or else the environment."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name, option in OPTIONS.items():
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            help=f"{option.help} [{option.variable}]",
            metavar=name.upper(),
            # An empty one is how Compose has a variable that is not set.
            default=os.environ.get(option.variable) or None,
        )
    found = {name: value for name, value in vars(parser.parse_args(arguments)).items() if value}
    for name, option in OPTIONS.items():
        if option.choices and found.setdefault(name, option.choices[0]) not in option.choices:
            raise SetUpError(
                f"{option.variable}: expected {' or '.join(option.choices)}, found {found[name]!r}"
            )
    return found


def check(given: Mapping[str, str]) -> None:
    """Raise SetUpError for invalid settings, before anything is changed."""
    for name in ("manifest", "output"):
        value = given.get(name, "/")
        if "://" not in value and not value.startswith("/"):
            raise SetUpError(
                f"{OPTIONS[name].variable}: expected an absolute path or a URL, since a run has a "
                f"folder of its own; found {value!r}"
            )
    if not PREFECT_API_URL.value():
        raise SetUpError(
            "PREFECT_API_URL: expected the address of a Prefect server, found none; "
            "export PREFECT_API_URL=http://127.0.0.1:4200/api"
        )
    if given["code"] == "image" and given["pool_type"] == "process":
        raise SetUpError(
            "NST_CODE: expected a pool whose jobs are containers for an image, found one of "
            "processes; set NST_POOL_TYPE=kubernetes as well"
        )
    if given["pool_type"] == "kubernetes" and "image" not in given:
        raise SetUpError(
            "NST_IMAGE: expected an image's name in a registry that the cluster pulls from, such "
            "as registry.example.org/nst:0.3.0.dev0; found none"
        )
    if not given.get("gpus", "1").isdecimal():
        raise SetUpError(f"NST_GPUS: expected a number from 0 on, found {given['gpus']!r}")


async def prepare(given: Mapping[str, str]) -> None:
    """Create everything that deployments refer to."""
    if bucket := given.get("bucket"):
        make_bucket(bucket)
    async with get_client() as client:
        if why := await client.api_healthcheck():
            raise SetUpError(
                f"expected a Prefect server at {PREFECT_API_URL.value()}, found none ({why}); "
                "start it, or set PREFECT_API_URL"
            )
        await set_variables(client, given)
        await make_pool(client, given)
        await make_queues(client)
        await make_automation(client, loaded("zombies.yaml"))
        # From the environment alone: it is a secret, and a command line is not.
        if webhook := os.environ.get("NST_WEBHOOK"):
            automation = loaded("rows-failed.yaml")
            automation["actions"][0]["block_document_id"] = await webhook_block(webhook)
            await make_automation(client, automation)


def make_bucket(name: str) -> None:
    import s3fs  # which takes a second, and is for those alone who ask for a bucket

    try:
        s3fs.S3FileSystem().makedirs(name, exist_ok=True)
    except OSError as exc:
        raise SetUpError(
            f"NST_BUCKET: expected to find or to make the bucket {name!r}, found: {exc}; "
            "look at AWS_ENDPOINT_URL and at the credentials"
        ) from exc
    say(f"bucket {name}")


async def set_variables(client: PrefectClient, given: Mapping[str, str]) -> None:
    """Raises SetUpError if a variable has a value neither in the settings nor on the server."""
    names = ["manifest", "output"]
    if given["code"] == "git":
        names += ["repository", "release"]
    for option in names:
        name = VARIABLES[option]
        there = await client.read_variable_by_name(name)
        value = given.get(option) or (there and there.value)
        if not value:
            raise SetUpError(
                f"{OPTIONS[option].variable}: expected a value, found none, nor a Prefect Variable "
                f"{name}; it is {OPTIONS[option].help}"
            )
        if there is None:
            await client.create_variable(VariableCreate(name=name, value=value))
        elif there.value != value:
            await client.update_variable(VariableUpdate(name=name, value=value))
        say(f"variable {name} = {value}")


async def make_pool(client: PrefectClient, given: Mapping[str, str]) -> None:
    kind = given["pool_type"]
    template = job_template(given)
    try:
        there = await client.read_work_pool(POOL)
    except ObjectNotFound:
        await client.create_work_pool(
            WorkPoolCreate(name=POOL, type=kind, base_job_template=template)
        )
    else:
        if there.type != kind:
            raise SetUpError(
                f"work pool {POOL}: expected one of the type {kind}, found {there.type}, which "
                f"nobody can change; set NST_POOL_TYPE={there.type}, or prefect work-pool delete {POOL}"
            )
        # Of processes there is nothing of ours in it, but maybe something of the operator's.
        if kind != "process":
            await client.update_work_pool(POOL, WorkPoolUpdate(base_job_template=template))
    say(f"work pool {POOL}, {kind}")


def job_template(given: Mapping[str, str]) -> dict[str, Any]:
    """The template of the pool's jobs, in Prefect's terms."""
    if given["pool_type"] == "process":
        return dict(ProcessWorker.get_default_base_job_template())
    template: dict[str, Any] = loaded("kubernetes/job-template.json")
    variables = template["variables"]["properties"]
    variables["image"]["default"] = given["image"]
    if secret := given.get("pull_secret"):
        variables["image_pull_secrets"]["default"] = [{"name": secret}]
    gpus = variables["gpus"]["default"] = int(given.get("gpus", "1"))
    if not gpus:
        # Or it would wait for a node that has one.
        variables["node_selector"]["default"] = {}
        variables["tolerations"]["default"] = []
    return template


async def make_queues(client: PrefectClient) -> None:
    for name, priority in QUEUES.items():
        try:
            queue = await client.read_work_queue_by_name(name, work_pool_name=POOL)
        except ObjectNotFound:
            queue = await client.create_work_queue(name, work_pool_name=POOL, priority=priority)
        if queue.priority != priority:
            await client.update_work_queue(queue.id, priority=priority)
        say(f"work queue {POOL}/{name}, priority {priority}")


async def make_automation(client: PrefectClient, automation: Mapping[str, Any]) -> None:
    wanted = AutomationCore.model_validate(automation)
    there = await client.read_automations_by_name(wanted.name)
    if there:
        await client.update_automation(there[0].id, wanted)
    else:
        await client.create_automation(wanted)
    say(f"automation {wanted.name}")


async def webhook_block(address: str) -> str:
    """The id of the block with the address for notifications of failed rows."""
    block = CustomWebhookNotificationBlock.model_validate(
        {"name": "nst", "url": address, "json_data": {"text": "{{subject}}: {{body}}"}}
    )
    return str(await block.save(NOTIFICATION_BLOCK, overwrite=True))


def deploy(given: Mapping[str, str]) -> None:
    """Create the deployments of prefect.yaml, with the steps by which a run gets the code."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "prefect.yaml"
        file.write_text(json.dumps(with_steps(loaded("prefect.yaml"), given["code"])))
        command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
        done = subprocess.run(
            [*command, "--prefect-file", str(file)],
            # Where an image is built from.
            cwd=HERE.parent,
            env=os.environ | {OPTIONS[name].variable: value for name, value in given.items()},
            check=False,
        )
    if done.returncode:
        raise SetUpError(
            f"expected prefect deploy to end with 0, found {done.returncode}; see above"
        )


def with_steps(file: Mapping[str, Any], code: str) -> dict[str, Any]:
    """prefect.yaml with its own steps replaced by those of `code` in its `definitions`."""
    made = copy.deepcopy(dict(file))
    steps: dict[str, Any] = made.pop("definitions")["code"][code]
    return made | steps


def loaded(name: str) -> Any:
    """A file beside this one; JSON is YAML too."""
    return yaml.safe_load((HERE / name).read_text(encoding="utf-8"))


def say(line: str) -> None:
    print(f"set_up: {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
