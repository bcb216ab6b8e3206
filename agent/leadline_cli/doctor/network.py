"""Network checks of ``leadline agent doctor``: DNS, collector, credential, targets.

The dry POST sends ``{}``, which is no valid batch. The collector refuses it before any database access. A refusal with
a problem document shows that POST requests pass all proxies, that the key is valid and that nothing was stored.
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
#: ACME clients renew a month before expiry. Two weeks before expiry, automatic renewal has failed or does not exist.
CERTIFICATE_VALIDITY_S_MIN = 14 * 86_400
_LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
_DRY_POST_BODY = gzip.compress(b"{}", mtime=0)


def check_connection(credential: Credential, clock: Clock) -> Iterator[Diagnostic]:
    """Check the connection to the collector: name, TCP, TLS and certificate expiry."""
    parts = urlsplit(credential.collector)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with socket.create_connection((host, port), timeout=TIMEOUT_S) as tcp_socket:
            if parts.scheme != "https":
                yield _check_plain_http(credential.collector, host)
                return
            with ssl.create_default_context(cafile=credential.ca_file).wrap_socket(
                tcp_socket, server_hostname=host
            ) as tls_socket:
                yield _check_certificate(
                    tls_socket.version(), tls_socket.getpeercert(), clock.wall_ns() // 1_000_000_000
                )
    except ssl.SSLError as error:
        yield fail(
            "collector", f"{credential.collector}: TLS failed: {error}",
            "check the name in the certificate and the CA file (--ca-file)",
        )  # fmt: skip
    except OSError as error:
        yield fail(
            "collector",
            f"cannot connect to {host} port {port}: {error}",
            "check that it runs, and the firewalls on the path",
        )


def _check_plain_http(url: str, host: str) -> Diagnostic:
    if host in _LOOPBACK_HOSTS:
        return ok("collector", f"{url} accepts connections (on this host)")
    return warn("collector", f"{url} accepts connections without TLS: the key is sent in clear text", "use https")


def _check_certificate(version: str | None, certificate: object, now_s: int) -> Diagnostic:
    not_after = certificate.get("notAfter") if isinstance(certificate, dict) else None
    if not isinstance(not_after, str):
        return ok("collector", f"accepts connections, {version}")
    left_s = int(ssl.cert_time_to_seconds(not_after)) - now_s
    detail = f"accepts connections, {version}, certificate valid for {left_s // 86_400} days"
    if left_s < CERTIFICATE_VALIDITY_S_MIN:
        return warn("collector", detail, "renew the collector's certificate")
    return ok("collector", detail)


class DoctorClient:
    """Client of the collector with the key of the agent."""

    def __init__(self, credential: Credential, clock: Clock, signer: Signer | None = None) -> None:
        self._url, self._clock, self._signer = credential.collector.rstrip("/"), clock, signer
        self._headers = {"Authorization": f"Bearer {credential.key}"}
        self._pool = urllib3.PoolManager(timeout=TIMEOUT_S, retries=False, maxsize=1, ca_certs=credential.ca_file)

    def fetch_plan(self) -> tuple[Diagnostic, control.Plan | None]:
        """Check the key; return the plan."""
        subject = "credential"
        try:
            response = self._pool.request("GET", f"{self._url}/api/v1/plan", headers=self._headers, redirect=False)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            return fail(subject, f"no response from {self._url}: {error}", "see the line 'collector'"), None
        if response.status in (401, 403):
            remedy = "enrol again: leadline token create, then leadline agent enroll with a fresh state directory"
            return fail(subject, f"{self._url} refuses the key of this agent ({response.status})", remedy), None
        try:
            plan = codec.decode(response.data, control.Plan)
        except WireError as error:
            return fail(subject, f"{response.status} from {self._url}: {error}", "check the URL of the collector"), None
        return ok(
            subject, f"agent {plan.agent} of {plan.site}; mesh {plan.mesh_version}, {len(plan.targets)} targets"
        ), plan

    def send_dry_post(self) -> Diagnostic:
        """Check that a POST request reaches the collector. Nothing is stored."""
        headers = self._headers | {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        headers |= {} if self._signer is None else self._signer.build_headers(_DRY_POST_BODY)
        before_ns = self._clock.monotonic_ns()
        try:
            response = self._pool.request(
                "POST", f"{self._url}/api/v1/batches", body=_DRY_POST_BODY, headers=headers, redirect=False
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            return fail(
                "dry POST", f"no response: {error}", "check for a proxy or firewall that passes GET but not POST"
            )
        duration_ns = self._clock.monotonic_ns() - before_ns
        batch_response = parse_response(
            response.status, response.headers.get("Retry-After", ""), response.data, wire.compute_digest(_DRY_POST_BODY)
        )
        return evaluate_post(batch_response, duration_ns)


def evaluate_post(response: BatchResponse, duration_ns: int) -> Diagnostic:
    """Return the diagnostic of the dry POST. ``duration_ns`` is the response time."""
    if response.kind is ResponseKind.REFUSED:
        return ok("dry POST", f"refused after {duration_ns / 1e6:.0f} ms, as expected")
    if response.kind is ResponseKind.UNAVAILABLE:
        return warn("dry POST", response.reason, "the collector is busy or restarting; batches stay in the spool")
    if response.kind is ResponseKind.DENIED and response.is_problem:
        return fail("dry POST", response.reason, "enrol again, with --sign if this agent signs")
    return fail("dry POST", response.reason, "check for a proxy that responds in place of the collector")


def check_dns(plan: control.Plan) -> tuple[Iterator[Diagnostic], dict[str, str]]:
    """Check that every name of the plan resolves; return the addresses by target."""
    addresses = {target.name: resolve_name(target.address) for target in plan.targets}
    missing = [target for target in plan.targets if addresses[target.name] is None]
    return _report_unresolved(plan, missing), {
        name: address for name, address in addresses.items() if address is not None
    }


def _report_unresolved(plan: control.Plan, missing: Sequence[control.PlanTarget]) -> Iterator[Diagnostic]:
    for target in missing[:PROBES_MAX]:
        yield warn(
            "DNS",
            f"{target.address} (target {target.name}) does not resolve",
            "fix the name: its slots are not measured",
        )
    if len(missing) > PROBES_MAX:
        yield warn("DNS", f"{len(missing) - PROBES_MAX} more names do not resolve", "check /etc/resolv.conf")
    if plan.targets and not missing:
        yield ok("DNS", f"all {len(plan.targets)} targets have an address")


def check_target_policy(addresses: dict[str, str], policy: LocalPolicy) -> tuple[list[Diagnostic], dict[str, str]]:
    """Check the addresses against the local policy; return the allowed ones."""
    allowed = {name: address for name, address in addresses.items() if policy.is_address_allowed(address)}
    forbidden = [f"{name} ({address})" for name, address in addresses.items() if name not in allowed]
    if not forbidden:
        return [], allowed
    more = f" and {len(forbidden) - PROBES_MAX} more" if len(forbidden) > PROBES_MAX else ""
    detail = f"forbids {', '.join(forbidden[:PROBES_MAX])}{more}"
    return [warn("local policy", detail, "remove them from the mesh, or allow their network")], allowed


def check_targets(addresses: dict[str, str], clock: Clock, rng: Random) -> Iterator[Diagnostic]:
    """Send one probe to each of the first targets."""
    targets = list(addresses.items())[:PROBES_MAX]
    if not targets:
        return
    try:
        measurement = measure_targets(PROBE_SETTINGS, 1, targets, clock, rng, None)
    except LeadlineError as error:
        yield fail("probe", str(error), "see the line 'ICMP permission'")
        return
    for name, address in targets:
        result = next(iter(measurement.results.get(name, ())), None)
        if result is not None and result.rtt_ns is not None:
            yield ok("probe", f"{name} ({address}) replied in {result.rtt_ns / 1e6:.3f} ms")
        else:
            reason = "not sent" if result is None else str(result.failure)
            yield warn(
                "probe",
                f"{name} ({address}): {reason}",
                "a single probe is weak evidence; run `leadline check` for this target",
            )
