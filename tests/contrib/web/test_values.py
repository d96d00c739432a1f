"""The values of the wire in JavaScript: what Python wrote is read, and written as it was."""

import json
import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contrib.web.servers import node
from tests.support import ROOT
from zexchange.protocol.codec.values import Unknown, decode, encode

MODULE = ROOT / "zexchange" / "contrib" / "web" / "zexchange.js"
VECTORS = [
    pytest.param(vector, id=vector["name"])
    for vector in json.loads((ROOT / "docs" / "vectors.json").read_text(encoding="utf-8"))
    if vector["kind"] == "value"
]
PROGRAM = """
import { createInterface } from "node:readline"
import * as z from MODULE
const { decode, encode } = z
const fromHex = text => Uint8Array.from(Buffer.from(text, "hex"))
const toHex = bytes => Buffer.from(bytes).toString("hex")
for await (const line of createInterface({ input: process.stdin })) {
  const { hex, code } = JSON.parse(line)
  let found
  try {
    if (code === undefined) found = toHex(encode(decode(fromHex(hex))))
    else {
      const value = hex === undefined ? undefined : decode(fromHex(hex))
      const result = new Function("value", "z", `return ${code}`)(value, z)
      found = result instanceof Uint8Array ? toHex(result) : JSON.stringify(result) ?? "undefined"
    }
  } catch (error) { found = `${error.name}: ${error.message}` }
  process.stdout.write(JSON.stringify(found) + "\\n")
}
"""


class JavaScript:
    """A node that answers one line to each."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def ask(self, **question: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps(question), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def through(self, body: bytes) -> str:
        """Decode and encode once more."""
        return self.ask(hex=body.hex())

    def of(self, value: object, code: str) -> object:
        """Return what an expression makes of a value, by JSON."""
        answer = self.ask(hex=encode(value).hex(), code=code)
        return json.loads(answer) if answer != "undefined" else None

    def made(self, code: str) -> object:
        """Return the value that an expression encodes."""
        return decode(bytes.fromhex(self.ask(code=f"z.encode({code})")))


@pytest.fixture(scope="module")
def js(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JavaScript]:
    program: Path = tmp_path_factory.mktemp("node") / "values.mjs"
    program.write_text(PROGRAM.replace("MODULE", json.dumps(MODULE.as_uri())), encoding="utf-8")
    with subprocess.Popen(
        [node(), str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield JavaScript(process)
        assert process.stdin is not None
        process.stdin.close()


@pytest.mark.parametrize("vector", VECTORS)
def test_vectors_go_through_javascript(js: JavaScript, vector: dict[str, str]) -> None:
    """Each value of docs/vectors.json is decoded, and encoded as the same bytes."""
    assert js.ask(hex=vector["hex"]) == vector["hex"]


@pytest.mark.parametrize("last", [7, 1.5, "text", b"bytes", 2**40, None, [1], UUID(int=1)])
def test_a_value_may_be_as_long_as_what_is_written_into(js: JavaScript, last: object) -> None:
    """Whatever comes last: it begins at each place before the end of 256 bytes, or of 512."""
    for size in (*range(235, 260), *range(490, 515)):
        body = encode([bytes(size), last])
        assert js.through(body) == body.hex()


leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False),
    st.text(max_size=40),
    st.binary(max_size=300),
    st.complex_numbers(allow_nan=False),
    st.decimals(),
    st.uuids(),
    st.dates(),
    st.datetimes(timezones=st.none() | st.just(UTC) | st.just(timezone(timedelta(hours=-5), "x"))),
    st.times(),
    st.timedeltas(),
    st.builds(Unknown, st.integers(16, 127), st.binary(max_size=20)),
)
keys = st.text(max_size=9) | st.integers(0, 9) | st.tuples(st.integers(0, 5))
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=20)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(keys, inner, max_size=20)
        | st.frozensets(st.integers() | st.text(), max_size=4)
    ),
    max_leaves=20,
)


@given(value=values)
def test_values_go_through_javascript(js: JavaScript, value: object) -> None:
    """What Python encodes comes back equal; a whole float may come back as an integer."""
    answer = js.through(encode(value))
    assert ":" not in answer, answer
    assert repr(_without_wholes(decode(bytes.fromhex(answer)))) == repr(_without_wholes(value))


def _without_wholes(value: object) -> object:
    """Return a value with integers in place of whole floats, and dicts and sets in one order."""
    if type(value) is float and value.is_integer() and abs(value) < 2**53 and repr(value) != "-0.0":
        return int(value)
    if type(value) in (list, tuple):
        return type(value)(map(_without_wholes, value))
    if type(value) is dict:
        pairs = [(_without_wholes(key), _without_wholes(item)) for key, item in value.items()]
        return sorted(pairs, key=repr)
    return sorted(value, key=repr) if type(value) is frozenset else value


@given(body=st.binary(max_size=40))
def test_whatever_arrives_is_read_or_an_error(js: JavaScript, body: bytes) -> None:
    """Any bytes are a value or raise an error, and the next are read as ever."""
    js.through(body)
    assert js.through(b"\x01") == "01"


@pytest.mark.parametrize(
    "deep", [b"\x91" * 100_000 + b"\xc0", b"\xdd\xff\xff\xff\xff", b"\xdf\x7f\xff\xff\xff"]
)
def test_what_is_announced_is_not_made(js: JavaScript, deep: bytes) -> None:
    """Nesting without end, and lengths of what is not there, are errors."""
    assert js.through(deep).startswith("RangeError")


def test_what_the_module_exports_has_a_type() -> None:
    """The declarations name every class and function of the module, and no other."""
    form = r"^export (?:class|function) (\w+)"
    code, types = (MODULE.with_suffix(end).read_text(encoding="utf-8") for end in (".js", ".d.ts"))
    assert sorted(re.findall(form, code, re.M)) == sorted(re.findall(form, types, re.M))


def test_what_a_page_gets(js: JavaScript) -> None:
    """Plain values where JavaScript has them; BigInt, Map, typed arrays and classes else."""
    assert js.of({"a": 1, "b": [True, None]}, "value") == {"a": 1, "b": [True, None]}
    assert js.of(2**53, "[typeof value, String(value)]") == ["bigint", str(2**53)]
    assert js.of(2**53 - 1, "typeof value") == "number"
    assert js.of(b"\1", "[value instanceof Uint8Array, value[0]]") == [True, 1]
    assert js.of({1: 2}, "[value instanceof Map, value.get(1)]") == [True, 2]
    assert js.of({"__proto__": 1}, "Object.keys(value)") == ["__proto__"]
    moment = datetime(2024, 2, 29, 12, 0, 1, 250_007, tzinfo=timezone(timedelta(hours=2)))
    assert js.of(moment, "[value.toISOString(), value.microsecond]") == [
        "2024-02-29T10:00:01.250Z",
        250_007,
    ]
    assert js.of(timedelta(hours=-1), "value.milliseconds") == -3_600_000
    assert js.of(Decimal("1.50"), "`${value}`") == "1.50"
    np = pytest.importorskip("numpy")
    array = np.arange(6, dtype="<f4").reshape(2, 3)
    assert js.of(array, "[value.shape, value.data.constructor.name, [...value.data]]") == [
        [2, 3],
        "Float32Array",
        [0, 1, 2, 3, 4, 5],
    ]
    assert js.of(np.arange(3, dtype=">i4"), "[...value.data]") == [0, 1, 2]
    assert js.of(np.float64(0.5), "value.value") == 0.5


def test_what_a_page_sends(js: JavaScript) -> None:
    """Values that are made in JavaScript arrive as Python's."""
    assert js.made("{a: [1, 1.5, 'x'], b: undefined}") == {"a": [1, 1.5, "x"], "b": None}
    assert js.made("new z.Float(2)") == 2.0
    assert type(js.made("new z.Float(2)")) is float
    assert js.made("[2n ** 64n, -(2n ** 63n), 5n]") == [2**64, -(2**63), 5]
    assert js.made("new Map([[1, new Set([2])]])") == {1: {2}}
    assert js.made("z.Tuple.of(1, 2)") == (1, 2)
    assert js.made("new Date(1700000000250)") == datetime(2023, 11, 14, 22, 13, 20, 250_000, UTC)
    assert js.made("new z.PlainDate(2024, 2, 29)") == date(2024, 2, 29)
    assert js.made("new z.PlainTime(1, 2, 3, 4)") == time(1, 2, 3, 4)
    assert js.made("new z.Duration(-1, 0, 5)") == timedelta(days=-1, microseconds=5)
    assert js.made("new z.UUID('00112233-4455-6677-8899-AABBCCDDEEFF')") == UUID(
        "00112233445566778899aabbccddeeff"
    )
    np = pytest.importorskip("numpy")
    made = js.made("new Float64Array([0.5, 1])")
    assert made.dtype == np.dtype("<f8")
    assert list(made) == [0.5, 1.0]


@pytest.mark.parametrize(
    "code",
    [
        "() => 1",
        "Symbol()",
        "new (class Order {})",
        "'\\ud800'",
        "new Date(NaN)",
        "(a => { a[0] = a; return a })([])",
    ],
)
def test_what_cannot_be_sent_is_an_error(js: JavaScript, code: str) -> None:
    """Functions, classes, halves of characters, invalid dates and circles raise."""
    assert js.ask(code=f"z.encode({code})").split(":")[0] in ("TypeError", "RangeError")
