"""Rules for docker-compose.yml; each is also tested with a file that breaks it."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator

import pytest

from leadline.mesh.parser import parse_mesh
from leadline_cli.__main__ import build_parser
from tests.support.compose import ROOT, Document, find_leadline_commands, load_compose

pytestmark = pytest.mark.source_tree

#: A full version: 17.7-bookworm, 12.4.2. Neither a major version alone nor a moving tag.
PINNED = re.compile(r"[\w./-]+:\d+\.\d+(\.\d+)?(-[\w.]+)?(@sha256:[0-9a-f]{64})?")
#: Services that may mount the volume of a secret.
MAY_SEE = {
    "database-secret": {"secrets", "database", "migrate", "reader", "simulate", "collector"},
    "reader-secret": {"secrets", "reader", "grafana"},
    "grafana-secret": {"secrets", "grafana"},
    "administration-secret": {"secrets", "collector", "enrol"},
}
ONE_SHOTS = {"secrets", "migrate", "reader", "simulate", "enrol"}

Rule = Callable[[Document], Iterator[str]]


def services(document: Document) -> Iterator[tuple[str, Document]]:
    """Yield the services with their names."""
    yield from document["services"].items()


def services_do_not_run_as_root(document: Document) -> Iterator[str]:
    """Require a numeric user: a name depends on the image."""
    for name, service in services(document):
        if not re.fullmatch(r"[1-9]\d*:\d+", service.get("user", "")):
            yield f"{name} runs as {service.get('user')!r}"


def root_file_systems_are_read_only(document: Document) -> Iterator[str]:
    """Require a read-only root and a /tmp in memory."""
    for name, service in services(document):
        if service.get("read_only") is not True:
            yield f"{name} has a writable root file system"
        if not any(entry.startswith("/tmp:") for entry in service.get("tmpfs", [])):
            yield f"{name} has no /tmp"


def capabilities_are_dropped(document: Document) -> Iterator[str]:
    """Require that all are dropped; only an agent may add NET_RAW."""
    for name, service in services(document):
        if service.get("cap_drop") != ["ALL"]:
            yield f"{name} drops {service.get('cap_drop')}"
        allowed = {"NET_RAW"} if name.startswith("agent-") else set()
        if set(service.get("cap_add", [])) - allowed or service.get("privileged"):
            yield f"{name} adds {service.get('cap_add')}"


def privileges_cannot_be_gained(document: Document) -> Iterator[str]:
    """Require no-new-privileges; forbid host namespaces, devices and the socket of the engine."""
    for name, service in services(document):
        if "no-new-privileges:true" not in service.get("security_opt", []):
            yield f"{name} may gain privileges"
        if {"pid", "ipc", "network_mode", "devices"} & service.keys():
            yield f"{name} shares a namespace or device of the host"
        if any("docker.sock" in volume for volume in service.get("volumes", [])):
            yield f"{name} mounts the socket of the engine"


def ports_are_on_loopback(document: Document) -> Iterator[str]:
    """Require 127.0.0.1: other access needs a proxy with TLS in front."""
    for name, service in services(document):
        for port in service.get("ports", []):
            if not str(port).startswith("127.0.0.1:"):
                yield f"{name} listens on {port}"


def images_are_pinned(document: Document) -> Iterator[str]:
    """Require a full version, or a target of the Dockerfile for own images."""
    for name, service in services(document):
        built = service.get("build", {}).get("target") in {"agent", "collector"}
        if not built and not PINNED.fullmatch(service.get("image", "")):
            yield f"{name} uses {service.get('image')!r}"


def every_service_has_limits(document: Document) -> Iterator[str]:
    """Require limits of memory, processors, processes and log size."""
    for name, service in services(document):
        missing = {"mem_limit", "cpus", "pids_limit"} - service.keys()
        if missing or "max-size" not in service.get("logging", {}).get("options", {}):
            yield f"{name} has no {', '.join(sorted(missing)) or 'limit of its log size'}"


def the_file_contains_no_secret(document: Document) -> Iterator[str]:
    """Require files for passwords, keys and tokens; forbid variables of the caller."""
    for name, service in services(document):
        for variable, value in service.get("environment", {}).items():
            secret = re.search(r"PASSWORD|SECRET|TOKEN|KEY", variable)
            if secret and not (variable.endswith("_FILE") and value.startswith("/srv/leadline/")):
                yield f"{name} has {variable} in plain text"
            if "${" in str(value) or re.search(r"://[^/@]*:[^/@]*@", str(value)):
                yield f"{name} has {variable}={value}"


def secrets_are_mounted_only_where_needed(document: Document) -> Iterator[str]:
    """Require that only listed services mount a secret, and only ``secrets`` writable."""
    for name, service in services(document):
        for volume in service.get("volumes", []):
            source, _, target = volume.partition(":")
            if source.endswith("-secret"):
                if name not in MAY_SEE.get(source, set()):
                    yield f"{name} mounts {source}"
                if name != "secrets" and not target.endswith(":ro"):
                    yield f"{name} may write to {source}"


def services_wait_for_their_dependencies(document: Document) -> Iterator[str]:
    """Require health of long-running services and success of one-shot services."""
    for name, service in services(document):
        if name != "secrets" and not service.get("depends_on"):
            yield f"{name} waits for nothing"
        depends = service.get("depends_on", {})
        if not isinstance(depends, dict):
            yield f"{name} has no conditions in depends_on"
            continue
        for other, how in depends.items():
            condition = "service_completed_successfully" if other in ONE_SHOTS else "service_healthy"
            if other not in document["services"] or how.get("condition") != condition:
                yield f"{name} waits for {other} to be {how.get('condition')}"


def long_running_services_have_health_checks(document: Document) -> Iterator[str]:
    """Require a health check and a restart of long-running services, and no restart of one-shot services."""
    for name, service in services(document):
        restart, has_check = service.get("restart"), bool(service.get("healthcheck", {}).get("test"))
        if name in ONE_SHOTS and restart != "no":
            yield f"{name} would be restarted after its end"
        if name not in ONE_SHOTS and (restart != "unless-stopped" or not has_check):
            yield f"{name} has no health check or no restart"


def the_database_network_is_internal(document: Document) -> Iterator[str]:
    """Require an internal network without agents, and a database without ports."""
    if not (document["networks"].get("data") or {}).get("internal"):
        yield "the network of the database is not internal"
    for name, service in services(document):
        if name == "database" and (service.get("networks") != ["data"] or service.get("ports")):
            yield "the database is reachable from outside"
        if name.startswith("agent-") and "data" in service.get("networks", ["data"]):
            yield f"{name} reaches the database"


def grafana_requires_a_login(document: Document) -> Iterator[str]:
    """Require no anonymous access, no sign-up, a generated password and no call to the internet."""
    settings = document["services"]["grafana"].get("environment", {})
    required = {
        "GF_AUTH_ANONYMOUS_ENABLED": "false",
        "GF_USERS_ALLOW_SIGN_UP": "false",
        "GF_ANALYTICS_REPORTING_ENABLED": "false",
        "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
        "GF_PLUGINS_PREINSTALL_DISABLED": "true",
        "GF_SECURITY_ADMIN_PASSWORD__FILE": "/srv/leadline/grafana/password",
    }
    for name, value in required.items():
        if settings.get(name) != value:
            yield f"grafana has {name}={settings.get(name)!r}"


def every_volume_is_declared(document: Document) -> Iterator[str]:
    """Require declared volumes for data, and read-only mounts of files of this repository."""
    for name, service in services(document):
        for volume in service.get("volumes", []):
            source, _, target = volume.partition(":")
            if source.startswith("./"):
                if not target.endswith(":ro"):
                    yield f"{name} may write to {source}"
            elif source not in document["volumes"]:
                yield f"{name} uses the undeclared volume {source!r}"


def break_service(name: str, **changes: object) -> Callable[[Document], None]:
    """Return a change of keys of a service; None removes a key."""

    def change(document: Document) -> None:
        for key, value in changes.items():
            document["services"][name].pop(key, None)
            if value is not None:
                document["services"][name][key] = value

    return change


def break_environment(name: str, variable: str, value: str) -> Callable[[Document], None]:
    """Return a change of a variable of a service."""
    return lambda document: document["services"][name]["environment"].update({variable: value})


BROKEN: list[tuple[Rule, Callable[[Document], None]]] = [
    (services_do_not_run_as_root, break_service("agent-left", user=None)),
    (services_do_not_run_as_root, break_service("grafana", user="0:0")),
    (services_do_not_run_as_root, break_service("database", user="postgres")),
    (root_file_systems_are_read_only, break_service("collector", read_only=None)),
    (root_file_systems_are_read_only, break_service("database", tmpfs=["/run/postgresql"])),
    (capabilities_are_dropped, break_service("database", cap_drop=None)),
    (capabilities_are_dropped, break_service("agent-left", cap_add=["NET_ADMIN"])),
    (capabilities_are_dropped, break_service("collector", cap_add=["NET_RAW"])),
    (capabilities_are_dropped, break_service("agent-right", privileged=True)),
    (privileges_cannot_be_gained, break_service("enrol", security_opt=[])),
    (privileges_cannot_be_gained, break_service("agent-left", network_mode="host")),
    (privileges_cannot_be_gained, break_service("grafana", volumes=["/var/run/docker.sock:/var/run/docker.sock"])),
    (ports_are_on_loopback, break_service("grafana", ports=["3000:3000"])),
    (ports_are_on_loopback, break_service("collector", ports=["0.0.0.0:8427:8427"])),
    (images_are_pinned, break_service("grafana", image="grafana/grafana:latest")),
    (images_are_pinned, break_service("database", image="postgres:17")),
    (images_are_pinned, break_service("collector", build={"context": "."})),
    (every_service_has_limits, break_service("grafana", mem_limit=None)),
    (every_service_has_limits, break_service("agent-left", logging=None)),
    (the_file_contains_no_secret, break_environment("database", "POSTGRES_PASSWORD", "leadline")),
    (the_file_contains_no_secret, break_environment("collector", "LEADLINE_DATABASE_URL", "postgresql://a:b@c/d")),
    (the_file_contains_no_secret, break_environment("collector", "LEADLINE_DATA_DIR", "${DIR:?}")),
    (secrets_are_mounted_only_where_needed, break_service("agent-left", volumes=["grafana-secret:/x:ro"])),
    (secrets_are_mounted_only_where_needed, break_service("collector", volumes=["database-secret:/x"])),
    (services_wait_for_their_dependencies, break_service("collector", depends_on=["database"])),
    (services_wait_for_their_dependencies, break_service("agent-left", depends_on=None)),
    (
        services_wait_for_their_dependencies,
        break_service("grafana", depends_on={"simulate": {"condition": "service_started"}}),
    ),
    (long_running_services_have_health_checks, break_service("collector", healthcheck=None)),
    (long_running_services_have_health_checks, break_service("migrate", restart="always")),
    (the_database_network_is_internal, lambda document: document["networks"].update(data={})),
    (the_database_network_is_internal, break_service("database", ports=["127.0.0.1:5432:5432"])),
    (the_database_network_is_internal, break_service("agent-left", networks=["data"])),
    (grafana_requires_a_login, break_environment("grafana", "GF_AUTH_ANONYMOUS_ENABLED", "true")),
    (grafana_requires_a_login, break_environment("grafana", "GF_SECURITY_ADMIN_PASSWORD__FILE", "")),
    (every_volume_is_declared, break_service("grafana", volumes=["/var/lib/grafana"])),
    (every_volume_is_declared, break_service("simulate", volumes=["./deploy:/x"])),
]
RULES = list(dict.fromkeys(rule for rule, _ in BROKEN))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_file_follows_the_rule(rule: Rule) -> None:
    """No service breaks the rule."""
    assert list(rule(load_compose())) == []


@pytest.mark.parametrize(
    ("rule", "change"), BROKEN, ids=[f"{rule.__name__}-{number}" for number, (rule, _) in enumerate(BROKEN)]
)
def test_a_broken_rule_is_detected(rule: Rule, change: Callable[[Document], None]) -> None:
    """The rule reports one changed service."""
    document = copy.deepcopy(load_compose())
    change(document)

    assert list(rule(document))


def test_every_command_of_the_file_parses() -> None:
    """Commands, lines of scripts and health checks parse with the real command line."""
    commands = [
        (name, arguments) for name, service in services(load_compose()) for arguments in find_leadline_commands(service)
    ]

    for _, arguments in commands:
        build_parser().parse_args(arguments)
    assert [name for name, _ in commands] == [
        "migrate", "reader", "simulate", "collector", "collector", "enrol", "enrol", "agent-left", "agent-left",
        "agent-right", "agent-right",
    ]  # fmt: skip


def test_the_mesh_matches_the_agents() -> None:
    """The addresses of measuring sites are services of the file; all other sites are simulated."""
    document = load_compose()
    mesh = parse_mesh((ROOT / "deploy/compose/mesh.toml").read_text(encoding="utf-8"))
    simulated = {site.name for site in mesh.sites if site.simulated}

    measuring = {agent.address for agent in mesh.agents if agent.site not in simulated}
    assert measuring == {name for name in document["services"] if name.startswith("agent-")}


def test_grafana_is_provisioned_from_its_mounts() -> None:
    """Every variable and file of the provisioning files exists, and so do the dashboards."""
    grafana = load_compose()["services"]["grafana"]
    mounts = dict(reversed(volume.removesuffix(":ro").rsplit(":", 1)) for volume in grafana["volumes"])
    folder = ROOT / mounts["/etc/grafana/provisioning"]
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*/*.yaml")))

    assert set(re.findall(r"\${(\w+)}", text)) <= grafana["environment"].keys()
    (secret,) = re.findall(r"\$__file{(.*)}", text)
    directory, _, file = secret.rpartition("/")
    script = " ".join(load_compose()["services"]["secrets"]["command"])
    assert f"{mounts[directory].removesuffix('-secret')}/{file}" in script
    (dashboards,) = re.findall(r"path: (\S+)", text)
    assert list((ROOT / mounts[dashboards]).glob("*.json"))


def test_mounted_files_exist() -> None:
    """Docker would create a missing path as an empty directory of root."""
    mounted = {
        volume.partition(":")[0]
        for _, service in services(load_compose())
        for volume in service.get("volumes", [])
        if volume.startswith("./")
    }

    assert [path for path in sorted(mounted) if not (ROOT / path).exists()] == []
