"""Documents that were once on the wire, kept for ever: old ones are never edited, only joined by new ones.

``wire/good-KIND-….json`` must decode as KIND; ``wire/bad-KIND-….json`` must be refused at the path that
``wire/expected-paths.json`` gives.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from leadline.errors import WireError
from leadline.model import Failure
from leadline.wire import batch as wire
from leadline.wire import codec, control
from tests.contract.agent_v1 import AgentV1

FOLDER = Path(__file__).parent / "wire"
EXPECTED_PATHS: dict[str, str] = json.loads((FOLDER / "expected-paths.json").read_text())
#: Document types by the word that the names of the golden files carry.
KINDS: dict[str, type[msgspec.Struct]] = {
    "batch": wire.Batch,
    "ack": wire.Ack,
    "plan": control.Plan,
    "enrolrequest": control.EnrolRequest,
    "enrolanswer": control.EnrolResponse,
    "rotaterequest": control.KeyRotationRequest,
    "tokenrequest": control.TokenRequest,
    "tokenanswer": control.TokenResponse,
    "meshanswer": control.MeshResponse,
}


def names(pattern: str) -> list[str]:
    """The golden files of a pattern, by name."""
    return sorted(path.name for path in FOLDER.glob(pattern))


def read(name: str) -> Any:
    """Decode a golden file as the kind in its name."""
    kind, data = KINDS[name.removesuffix(".json").split("-")[1]], (FOLDER / name).read_bytes()
    return wire.decode_batch(data) if kind is wire.Batch else codec.decode(data, kind)


@pytest.mark.parametrize("name", names("good-*.json"))
def test_a_good_document_is_understood(name: str) -> None:
    """It decodes, and what is encoded from it decodes to the same."""
    document = read(name)

    assert codec.decode(codec.encode(document), type(document)) == document


@pytest.mark.parametrize("name", names("bad-*.json"))
def test_a_bad_document_is_refused_at_its_path(name: str) -> None:
    """The error names the place."""
    with pytest.raises(WireError) as refused:
        read(name)

    assert refused.value.path == EXPECTED_PATHS[name]


def test_every_bad_document_has_its_path_and_every_kind_a_good_one() -> None:
    """The folder is complete: nothing is expected that is not there, and no kind lacks an example."""
    assert sorted(EXPECTED_PATHS) == names("bad-*.json")
    assert {name.removesuffix(".json").split("-")[1] for name in names("good-*.json")} == set(KINDS)


def test_the_document_with_every_key_has_every_key() -> None:
    """A key that is added to a batch must get a golden document that carries it."""
    document = json.loads((FOLDER / "good-batch-v2-every-key.json").read_text())

    assert set(document) == {field.encode_name for field in msgspec.structs.fields(wire.Batch)}
    for part, kind in ((document["series"][0], wire.TargetWindow), (document["gaps"][0], wire.Gap)):
        assert set(part) == {field.encode_name for field in msgspec.structs.fields(kind)}
    assert set(document["clock"]) == {field.encode_name for field in msgspec.structs.fields(wire.ClockState)}


def test_what_version_1_did_not_say_is_unknown() -> None:
    """A batch of an agent of version 1 has no clocks and no gaps, and an acknowledgement no count."""
    batch, ack = read("good-batch-v1-every-key.json"), read("good-ack-v1.json")

    assert (batch.v, batch.boottime_us, batch.boot_id, batch.clock, batch.clock_offset_us, batch.gaps) == (
        1, None, None, None, None, [],
    )  # fmt: skip
    assert (ack.batches, ack.received_at_us) == (None, None)


def test_the_frozen_agent_of_version_1_writes_the_golden_document() -> None:
    """Two witnesses of version 1 that share no code say the same."""
    golden = json.loads((FOLDER / "good-batch-v1-every-key.json").read_text())
    agent = AgentV1(port=0, name=golden["agent"], epoch=golden["epoch"], seq=golden["seq"], mesh_version=3)

    agent.seal(golden["sealed_at_us"], golden["monotonic_us"], golden["series"])

    assert json.loads(gzip.decompress(agent.unsent[0])) == golden


@pytest.mark.parametrize("kind", [*KINDS.values(), wire.TargetWindow, wire.Gap, wire.ClockState, control.PlanTarget])
@pytest.mark.source_tree
def test_every_key_is_documented(kind: type[msgspec.Struct]) -> None:
    """docs/wire.md has every key of every document, and every failure."""
    page = (FOLDER.parents[2] / "docs" / "wire.md").read_text()

    missing = [field.encode_name for field in msgspec.structs.fields(kind) if f"`{field.encode_name}`" not in page]
    assert missing == []
    assert [failure.value for failure in Failure if f"`{failure.value}`" not in page] == []
    assert [reason.value for reason in wire.GapReason if f"`{reason.value}`" not in page] == []
