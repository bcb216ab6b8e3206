"""What ``leadline agent doctor`` finds beyond this host: names, the collector, the credential, the targets.

The dry POST is a body that a collector refuses before it looks at its database (``{}``, which is no batch). A refusal
in a problem document shows that POSTs pass every proxy, that the key is good and that nothing was stored.
"""

from __future__ import annotations

import gzip
import socket
import ssl
from collections.abc import Iterator, Sequence
from random import Random
from urllib.parse import urlsplit

import urllib3

from leadline.clock import Clock
from leadline.errors import LeadlineError, WireError
from leadline.model import ProbeSettings
from leadline.wire import batch as wire
from leadline.wire import codec, control
from leadline_agent.delivery.responses import BatchResponse, ResponseKind, parse_response
from leadline_agent.identity.signer import Signer
from leadline_agent.identity.state_dir import Credential
from leadline_agent.probe.dns import resolve_name
from leadline_agent.probe.policy_file import LocalPolicy
from leadline_cli.check.measurement import measure_targets
from leadline_cli.doctor.report import Diagnostic, fail, ok, warn

TIMEOUT_S = 5.0
PROBES_MAX = 3
PROBE_SETTINGS = ProbeSettings(timeout_ms=1_000)
#: Let's Encrypt renews a month before the end; who has two weeks left renews by hand, or not at all.
CERTIFICATE_VALIDITY_S_MIN = 14 * 86_400
_LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
_DRY_POST_BODY = gzip.compress(b"{}", mtime=0)


def check_connection(credential: Credential, clock: Clock) -> Iterator[Diagnostic]:
    """The way to the collector: its name, TCP, TLS and the end of its certificate."""
    parts = urlsplit(credential.collector)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with socket.create_connection((host, port), timeout=TIMEOUT_S) as plain:
            if parts.scheme != "https":
                yield _check_plain_http(credential.collector, host)
                return
            with ssl.create_default_context(cafile=credential.ca_file).wrap_socket(plain, server_hostname=host) as tls:
                yield _check_certificate(tls.version(), tls.getpeercert(), clock.wall_ns() // 1_000_000_000)
    except ssl.SSLError as error:
        yield fail(
            "collector", f"{credential.collector}: TLS failed: {error}",
            "is the certificate for this name, and its authority the one of --ca-file?",
        )  # fmt: skip
    except OSError as error:
        yield fail("collector", f"no connection to {host} port {port}: {error}", "is it running, is the way open?")


def _check_plain_http(url: str, host: str) -> Diagnostic:
    if host in _LOOPBACK_HOSTS:
        return ok("collector", f"{url} accepts connections, on this host")
    return warn("collector", f"{url} accepts connections, without TLS: the key travels in the clear", "use https")


def _check_certificate(version: str | None, certificate: object, now_s: int) -> Diagnostic:
    ends = certificate.get("notAfter") if isinstance(certificate, dict) else None
    if not isinstance(ends, str):
        return ok("collector", f"accepts connections, {version}")
    left_s = int(ssl.cert_time_to_seconds(ends)) - now_s
    detail = f"accepts connections, {version}, certificate good for {left_s // 86_400} days"
    if left_s < CERTIFICATE_VALIDITY_S_MIN:
        return warn("collector", detail, "renew the collector's certificate")
    return ok("collector", detail)


class DoctorClient:
    """One agent's requests to its collector, with its key."""

    def __init__(self, credential: Credential, clock: Clock, signer: Signer | None = None) -> None:
        self._url, self._clock, self._signer = credential.collector.rstrip("/"), clock, signer
        self._headers = {"Authorization": f"Bearer {credential.key}"}
        self._pool = urllib3.PoolManager(timeout=TIMEOUT_S, retries=False, maxsize=1, ca_certs=credential.ca_file)

    def fetch_plan(self) -> tuple[Diagnostic, control.Plan | None]:
        """Whether the key is good, and the plan."""
        what = "credential"
        try:
            answer = self._pool.request("GET", f"{self._url}/api/v1/plan", headers=self._headers, redirect=False)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            return fail(what, f"no answer from {self._url}: {error}", "see the line about the collector"), None
        if answer.status in (401, 403):
            remedy = "enrol again: leadline token create, then leadline agent enroll with a fresh state directory"
            return fail(what, f"{self._url} does not take this agent's key ({answer.status})", remedy), None
        try:
            plan = codec.decode(answer.data, control.Plan)
        except WireError as error:
            return fail(what, f"{answer.status} from {self._url}: {error}", "is this the collector's address?"), None
        return ok(
            what, f"agent {plan.agent} of {plan.site}; mesh {plan.mesh_version}, {len(plan.targets)} targets"
        ), plan

    def send_dry_post(self) -> Diagnostic:
        """Whether a POST arrives; nothing is stored."""
        headers = self._headers | {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        headers |= {} if self._signer is None else self._signer.build_headers(_DRY_POST_BODY)
        before_ns = self._clock.monotonic_ns()
        try:
            answer = self._pool.request(
                "POST", f"{self._url}/api/v1/batches", body=_DRY_POST_BODY, headers=headers, redirect=False
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            return fail("dry POST", f"no answer: {error}", "a proxy or firewall that lets GET pass and POST not?")
        took_ns = self._clock.monotonic_ns() - before_ns
        found = parse_response(
            answer.status, answer.headers.get("Retry-After", ""), answer.data, wire.compute_digest(_DRY_POST_BODY)
        )
        return evaluate_post(found, took_ns)


def evaluate_post(response: BatchResponse, took_ns: int) -> Diagnostic:
    """What the answer to the dry POST says, which took ``took_ns``."""
    if response.kind is ResponseKind.REFUSED:
        return ok("dry POST", f"arrives in {took_ns / 1e6:.0f} ms, and is refused as it must be")
    if response.kind is ResponseKind.UNAVAILABLE:
        return warn("dry POST", response.reason, "the collector is busy or restarts; batches wait in the spool")
    if response.kind is ResponseKind.DENIED and response.is_problem:
        return fail("dry POST", response.reason, "enrol again, with --sign if this agent signs")
    return fail("dry POST", response.reason, "is something between this host and the collector that answers for it?")


def check_dns(plan: control.Plan) -> tuple[Iterator[Diagnostic], dict[str, str]]:
    """Whether every name of the plan has an address; the addresses, by target."""
    addresses = {target.name: resolve_name(target.address) for target in plan.targets}
    missing = [target for target in plan.targets if addresses[target.name] is None]
    return _report_unresolved(plan, missing), {name: found for name, found in addresses.items() if found is not None}


def _report_unresolved(plan: control.Plan, missing: Sequence[control.PlanTarget]) -> Iterator[Diagnostic]:
    for target in missing[:PROBES_MAX]:
        yield warn("DNS", f"{target.address} (target {target.name}) has no address", "its slots are not measured")
    if len(missing) > PROBES_MAX:
        yield warn("DNS", f"{len(missing) - PROBES_MAX} more names have no address", "look at /etc/resolv.conf")
    if plan.targets and not missing:
        yield ok("DNS", f"all {len(plan.targets)} targets have an address")


def check_target_policy(addresses: dict[str, str], policy: LocalPolicy) -> tuple[list[Diagnostic], dict[str, str]]:
    """What the local policy forbids of these, and the rest."""
    allowed = {name: address for name, address in addresses.items() if policy.is_address_allowed(address)}
    forbidden = [f"{name} ({address})" for name, address in addresses.items() if name not in allowed]
    if not forbidden:
        return [], allowed
    more = f" and {len(forbidden) - PROBES_MAX} more" if len(forbidden) > PROBES_MAX else ""
    detail = f"forbids {', '.join(forbidden[:PROBES_MAX])}{more}"
    return [warn("local policy", detail, "take them out of the mesh, or allow their network")], allowed


def check_targets(addresses: dict[str, str], clock: Clock, rng: Random) -> Iterator[Diagnostic]:
    """One probe to each of the first targets."""
    targets = list(addresses.items())[:PROBES_MAX]
    if not targets:
        return
    try:
        run = measure_targets(PROBE_SETTINGS, 1, targets, clock, rng, None)
    except LeadlineError as error:
        yield fail("probe", str(error), "see the line about the permission")
        return
    for name, address in targets:
        outcome = next(iter(run.results.get(name, ())), None)
        if outcome is not None and outcome.rtt_ns is not None:
            yield ok("probe", f"{name} ({address}) answers in {outcome.rtt_ns / 1e6:.3f} ms")
        else:
            reason = "not sent" if outcome is None else str(outcome.failure)
            yield warn("probe", f"{name} ({address}): {reason}", "one probe proves little; try `leadline check` on it")
