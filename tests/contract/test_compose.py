"""The rules of docker-compose.yml, one by one; each is shown to fail on a file that breaks it."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator

import pytest

from leadline.mesh.parser import parse_mesh
from leadline_cli.__main__ import build_parser
from tests.support.compose import ROOT, Document, find_leadline_commands, load_compose

pytestmark = pytest.mark.source_tree

#: Version in full: 17.7-bookworm, 12.4.2. Neither a major version alone nor a name that moves.
PINNED = re.compile(r"[\w./-]+:\d+\.\d+(\.\d+)?(-[\w.]+)?(@sha256:[0-9a-f]{64})?")
#: Which services see the files of a secret.
MAY_SEE = {
    "database-secret": {"secrets", "database", "migrate", "reader", "simulate", "collector"},
    "reader-secret": {"secrets", "reader", "grafana"},
    "grafana-secret": {"secrets", "grafana"},
    "administration-secret": {"secrets", "collector", "enrol"},
}
ONE_SHOTS = {"secrets", "migrate", "reader", "simulate", "enrol"}

Rule = Callable[[Document], Iterator[str]]


def services(document: Document) -> Iterator[tuple[str, Document]]:
    """By name."""
    yield from document["services"].items()


def nobody_is_root(document: Document) -> Iterator[str]:
    """By number, because a name is looked up in the image."""
    for name, service in services(document):
        if not re.fullmatch(r"[1-9]\d*:\d+", service.get("user", "")):
            yield f"{name} runs as {service.get('user')!r}"


def root_file_systems_are_read_only(document: Document) -> Iterator[str]:
    """What is written is in a volume or in memory."""
    for name, service in services(document):
        if service.get("read_only") is not True:
            yield f"{name} may write everywhere"
        if not any(entry.startswith("/tmp:") for entry in service.get("tmpfs", [])):
            yield f"{name} has no /tmp"


def no_capability_is_left(document: Document) -> Iterator[str]:
    """All are dropped; an agent might be given NET_RAW, nobody anything else."""
    for name, service in services(document):
        if service.get("cap_drop") != ["ALL"]:
            yield f"{name} drops {service.get('cap_drop')}"
        allowed = {"NET_RAW"} if name.startswith("agent-") else set()
        if set(service.get("cap_add", [])) - allowed or service.get("privileged"):
            yield f"{name} adds {service.get('cap_add')}"


def nobody_gains_privileges(document: Document) -> Iterator[str]:
    """No file of an image makes its caller somebody else, and no container shares the host's worlds."""
    for name, service in services(document):
        if "no-new-privileges:true" not in service.get("security_opt", []):
            yield f"{name} may gain privileges"
        if {"pid", "ipc", "network_mode", "devices"} & service.keys():
            yield f"{name} shares something of the host"
        if any("docker.sock" in volume for volume in service.get("volumes", [])):
            yield f"{name} commands the engine"


def ports_are_on_loopback(document: Document) -> Iterator[str]:
    """Whoever wants more puts a proxy with TLS in front."""
    for name, service in services(document):
        for port in service.get("ports", []):
            if not str(port).startswith("127.0.0.1:"):
                yield f"{name} listens on {port}"


def images_are_pinned(document: Document) -> Iterator[str]:
    """By their full version; what is built here has a target of the Dockerfile instead."""
    for name, service in services(document):
        built = service.get("build", {}).get("target") in {"agent", "collector"}
        if not built and not PINNED.fullmatch(service.get("image", "")):
            yield f"{name} takes {service.get('image')!r}"


def every_service_has_limits(document: Document) -> Iterator[str]:
    """Memory, processors, processes, and the size of what it logs."""
    for name, service in services(document):
        missing = {"mem_limit", "cpus", "pids_limit"} - service.keys()
        if missing or "max-size" not in service.get("logging", {}).get("options", {}):
            yield f"{name} has no {', '.join(sorted(missing)) or 'bound on its log'}"


def no_secret_stands_in_the_file(document: Document) -> Iterator[str]:
    """Passwords, keys and tokens are named by files; nothing asks for a variable of the caller."""
    for name, service in services(document):
        for variable, value in service.get("environment", {}).items():
            secret = re.search(r"PASSWORD|SECRET|TOKEN|KEY", variable)
            if secret and not (variable.endswith("_FILE") and value.startswith("/srv/leadline/")):
                yield f"{name} has {variable} in the open"
            if "${" in str(value) or re.search(r"://[^/@]*:[^/@]*@", str(value)):
                yield f"{name} has {variable}={value}"


def secrets_are_seen_by_those_who_need_them(document: Document) -> Iterator[str]:
    """Only the service that makes them may write them."""
    for name, service in services(document):
        for volume in service.get("volumes", []):
            source, _, target = volume.partition(":")
            if source.endswith("-secret"):
                if name not in MAY_SEE.get(source, set()):
                    yield f"{name} sees {source}"
                if name != "secrets" and not target.endswith(":ro"):
                    yield f"{name} may change {source}"


def everybody_waits_for_what_they_need(document: Document) -> Iterator[str]:
    """Health for what runs on, success for what ends; no circle and nobody unknown."""
    for name, service in services(document):
        if name != "secrets" and not service.get("depends_on"):
            yield f"{name} waits for nothing"
        depends = service.get("depends_on", {})
        if not isinstance(depends, dict):
            yield f"{name} does not say what it waits for"
            continue
        for other, how in depends.items():
            wanted = "service_completed_successfully" if other in ONE_SHOTS else "service_healthy"
            if other not in document["services"] or how.get("condition") != wanted:
                yield f"{name} waits for {other} to be {how.get('condition')}"


def what_runs_on_has_a_health_check(document: Document) -> Iterator[str]:
    """And starts again; what ends does not."""
    for name, service in services(document):
        restart, has_check = service.get("restart"), bool(service.get("healthcheck", {}).get("test"))
        if name in ONE_SHOTS and restart != "no":
            yield f"{name} would be started for ever"
        if name not in ONE_SHOTS and (restart != "unless-stopped" or not has_check):
            yield f"{name} has no health check, or stays down"


def the_database_has_no_way_out(document: Document) -> Iterator[str]:
    """Its network is internal, and agents are not in it."""
    if not (document["networks"].get("data") or {}).get("internal"):
        yield "the network of the database is open"
    for name, service in services(document):
        if name == "database" and (service.get("networks") != ["data"] or service.get("ports")):
            yield "the database can be reached"
        if name.startswith("agent-") and "data" in service.get("networks", ["data"]):
            yield f"{name} reaches the database"


def grafana_lets_nobody_in_unasked(document: Document) -> Iterator[str]:
    """No anonymous access, no sign-up, a password that was made here, and no call to the internet."""
    settings = document["services"]["grafana"].get("environment", {})
    wanted = {
        "GF_AUTH_ANONYMOUS_ENABLED": "false",
        "GF_USERS_ALLOW_SIGN_UP": "false",
        "GF_ANALYTICS_REPORTING_ENABLED": "false",
        "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
        "GF_PLUGINS_PREINSTALL_DISABLED": "true",
        "GF_SECURITY_ADMIN_PASSWORD__FILE": "/srv/leadline/grafana/password",
    }
    for name, value in wanted.items():
        if settings.get(name) != value:
            yield f"grafana has {name}={settings.get(name)!r}"


def every_volume_is_named(document: Document) -> Iterator[str]:
    """Data is in a volume that the file declares; what comes from this folder is read-only and is there."""
    for name, service in services(document):
        for volume in service.get("volumes", []):
            source, _, target = volume.partition(":")
            if source.startswith("./"):
                if not target.endswith(":ro"):
                    yield f"{name} may change {source}"
            elif source not in document["volumes"]:
                yield f"{name} keeps something in {source!r}"


def break_service(name: str, **changes: object) -> Callable[[Document], None]:
    """Change keys of a service; None takes one away."""

    def change(document: Document) -> None:
        for key, value in changes.items():
            document["services"][name].pop(key, None)
            if value is not None:
                document["services"][name][key] = value

    return change


def break_environment(name: str, variable: str, value: str) -> Callable[[Document], None]:
    """Set a variable of a service."""
    return lambda document: document["services"][name]["environment"].update({variable: value})


BROKEN: list[tuple[Rule, Callable[[Document], None]]] = [
    (nobody_is_root, break_service("agent-left", user=None)),
    (nobody_is_root, break_service("grafana", user="0:0")),
    (nobody_is_root, break_service("database", user="postgres")),
    (root_file_systems_are_read_only, break_service("collector", read_only=None)),
    (root_file_systems_are_read_only, break_service("database", tmpfs=["/run/postgresql"])),
    (no_capability_is_left, break_service("database", cap_drop=None)),
    (no_capability_is_left, break_service("agent-left", cap_add=["NET_ADMIN"])),
    (no_capability_is_left, break_service("collector", cap_add=["NET_RAW"])),
    (no_capability_is_left, break_service("agent-right", privileged=True)),
    (nobody_gains_privileges, break_service("enrol", security_opt=[])),
    (nobody_gains_privileges, break_service("agent-left", network_mode="host")),
    (nobody_gains_privileges, break_service("grafana", volumes=["/var/run/docker.sock:/var/run/docker.sock"])),
    (ports_are_on_loopback, break_service("grafana", ports=["3000:3000"])),
    (ports_are_on_loopback, break_service("collector", ports=["0.0.0.0:8427:8427"])),
    (images_are_pinned, break_service("grafana", image="grafana/grafana:latest")),
    (images_are_pinned, break_service("database", image="postgres:17")),
    (images_are_pinned, break_service("collector", build={"context": "."})),
    (every_service_has_limits, break_service("grafana", mem_limit=None)),
    (every_service_has_limits, break_service("agent-left", logging=None)),
    (no_secret_stands_in_the_file, break_environment("database", "POSTGRES_PASSWORD", "leadline")),
    (no_secret_stands_in_the_file, break_environment("collector", "LEADLINE_DATABASE_URL", "postgresql://a:b@c/d")),
    (no_secret_stands_in_the_file, break_environment("collector", "LEADLINE_DATA_DIR", "${DIR:?}")),
    (secrets_are_seen_by_those_who_need_them, break_service("agent-left", volumes=["grafana-secret:/x:ro"])),
    (secrets_are_seen_by_those_who_need_them, break_service("collector", volumes=["database-secret:/x"])),
    (everybody_waits_for_what_they_need, break_service("collector", depends_on=["database"])),
    (everybody_waits_for_what_they_need, break_service("agent-left", depends_on=None)),
    (
        everybody_waits_for_what_they_need,
        break_service("grafana", depends_on={"simulate": {"condition": "service_started"}}),
    ),
    (what_runs_on_has_a_health_check, break_service("collector", healthcheck=None)),
    (what_runs_on_has_a_health_check, break_service("migrate", restart="always")),
    (the_database_has_no_way_out, lambda document: document["networks"].update(data={})),
    (the_database_has_no_way_out, break_service("database", ports=["127.0.0.1:5432:5432"])),
    (the_database_has_no_way_out, break_service("agent-left", networks=["data"])),
    (grafana_lets_nobody_in_unasked, break_environment("grafana", "GF_AUTH_ANONYMOUS_ENABLED", "true")),
    (grafana_lets_nobody_in_unasked, break_environment("grafana", "GF_SECURITY_ADMIN_PASSWORD__FILE", "")),
    (every_volume_is_named, break_service("grafana", volumes=["/var/lib/grafana"])),
    (every_volume_is_named, break_service("simulate", volumes=["./deploy:/x"])),
]
RULES = list(dict.fromkeys(rule for rule, _ in BROKEN))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_file_keeps_the_rule(rule: Rule) -> None:
    """Of every service."""
    assert list(rule(load_compose())) == []


@pytest.mark.parametrize(
    ("rule", "change"), BROKEN, ids=[f"{rule.__name__}-{number}" for number, (rule, _) in enumerate(BROKEN)]
)
def test_a_file_that_breaks_the_rule_is_found(rule: Rule, change: Callable[[Document], None]) -> None:
    """One service at a time."""
    document = copy.deepcopy(load_compose())
    change(document)

    assert list(rule(document))


def test_every_command_of_the_file_is_one() -> None:
    """Commands, the lines of scripts and health checks parse with the real command line."""
    found = [
        (name, arguments) for name, service in services(load_compose()) for arguments in find_leadline_commands(service)
    ]

    for _, arguments in found:
        build_parser().parse_args(arguments)
    assert [name for name, _ in found] == [
        "migrate", "reader", "simulate", "collector", "collector", "enrol", "enrol", "agent-left", "agent-left",
        "agent-right", "agent-right",
    ]  # fmt: skip


def test_the_mesh_of_the_file_names_its_agents() -> None:
    """The addresses of the sites that measure are services of the file; all others are simulated."""
    document = load_compose()
    mesh = parse_mesh((ROOT / "deploy/compose/mesh.toml").read_text(encoding="utf-8"))
    simulated = {site.name for site in mesh.sites if site.simulated}

    measuring = {agent.address for agent in mesh.agents if agent.site not in simulated}
    assert measuring == {name for name in document["services"] if name.startswith("agent-")}


def test_grafana_is_provisioned_from_what_it_is_given() -> None:
    """Every variable and every file that the provisioning files name is there, and so are the dashboards."""
    grafana = load_compose()["services"]["grafana"]
    mounts = dict(reversed(volume.removesuffix(":ro").rsplit(":", 1)) for volume in grafana["volumes"])
    folder = ROOT / mounts["/etc/grafana/provisioning"]
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*/*.yaml")))

    assert set(re.findall(r"\${(\w+)}", text)) <= grafana["environment"].keys()
    (secret,) = re.findall(r"\$__file{(.*)}", text)
    directory, _, file = secret.rpartition("/")
    made = " ".join(load_compose()["services"]["secrets"]["command"])
    assert f"{mounts[directory].removesuffix('-secret')}/{file}" in made
    (dashboards,) = re.findall(r"path: (\S+)", text)
    assert list((ROOT / mounts[dashboards]).glob("*.json"))


def test_what_is_mounted_from_here_is_here() -> None:
    """A path that is not there would be made as an empty directory that belongs to root."""
    mounted = {
        volume.partition(":")[0]
        for _, service in services(load_compose())
        for volume in service.get("volumes", [])
        if volume.startswith("./")
    }

    assert [path for path in sorted(mounted) if not (ROOT / path).exists()] == []
