"""Writes golden.h: every message as the reference implementation of protobuf encodes it.

`protoc --encode` (Google's C++ code) knows nothing of our C or of protobuf-c, so bytes
that agree with it agree with the written protocol. Run after a change of
proto/pyproc.proto: `python tests/core/golden/make.py`; with `--check` it only compares.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROTO = HERE.parents[2] / "proto" / "pyproc.proto"
HEADER = HERE / "golden.h"

#: Name of the vector -> the Envelope in protobuf's text format.
MESSAGES = {
    "hello": """hello {
        version: 1 max_frame: 16777216 max_result: 67108864 max_memory: 268435456
        buffer_threshold: 65536 target_kind: TARGET_FUNCTIONS
        target: "docs:app" file: "/srv/app/docs.py"
        functions { name: "extract" module: "docs" qualname: "Reader.extract"
                    file: "/srv/app/docs.py" pickled: "\\x80\\x05\\x00." }
        functions { name: "gr\\303\\266\\303\\237e" }
        path: "/srv/app" path: "" path: "/usr/lib/python3"
        prefix: "/venv" base_prefix: "/usr" python_version: "3.11.2" }""",
    "hello_least": "hello { max_frame: 1 target_kind: TARGET_MODULE }",
    "hello_reply": """hello_reply {
        version: 1 python_version: "3.11.2" prefix: "/venv" base_prefix: "/usr"
        functions { name: "extract" signature: "(data: bytes, page: int = 0) -> str" }
        functions { name: "pages" kind: FUNCTION_ASYNC_GENERATOR batch: 32
            batch_wait_us: 10000 }
        functions { } }""",
    "hello_reply_least": "hello_reply { }",
    "call": """call {
        id: 0x0102030405060708 function: "extract" payload: "\\x92\\xc4\\x01\\x00\\x2a"
        codec: CODEC_RICH keywords: "page" keywords: "" keywords: "\\342\\202\\254"
        remaining_us: 30000000 items: 3 baggage: "\\x81\\xa5docs:\\x01"
        attachments: 16 }""",
    "call_least": "call { id: 1 codec: CODEC_MSGPACK }",
    "call_largest": """call {
        id: 0xffffffffffffffff codec: CODEC_PICKLE remaining_us: 0xffffffffffffffff
        payload: "0123456789012345678901234567890123456789012345678901234567890123456789"
                 "0123456789012345678901234567890123456789012345678901234567890123456789"
        function: "f" }""",
    "result": """result {
        id: 0x8000000000000001 payload: "\\x81\\xa1a\\x01" codec: CODEC_MSGPACK
        events: 12345678901 first: 4294967290 count: 4 }""",
    "result_least": "result { id: 1 codec: CODEC_RICH }",
    "failure": """failure {
        id: 77 kind: FAILURE_VALIDATION events: 300 path: "argument 'page'"
        nodes { type_name: "builtins.ExceptionGroup" message: "two" traceback: "Traceback\\n"
                arguments: "\\x90" notes: "first" notes: "" suppress_context: true
                attributes: "\\x80" }
        nodes { relation: RELATION_MEMBER type_name: "KeyError" message: "'k'" }
        nodes { relation: RELATION_CAUSE parent: 1 type_name: "OSError" }
        nodes { relation: RELATION_CONTEXT parent: 2 } }""",
    "failure_least": "failure { kind: FAILURE_START nodes { } }",
    "chunk_part": 'chunk_part { id: 5 first: 128 count: 2 payload: "\\xc0\\xc3" }',
    "returned": "returned { id: 0xdeadbeef }",
    "log": """log {
        sequence: 9 call: 77 level: -10 logger: "docs.reader" message: "page \\360\\237\\223\\204"
        created: 1700000000.25 exception: "Traceback" dropped: 2 extra: "\\x80" }""",
    "log_least": "log { }",
    "ping": "ping { nonce: 18446744073709551615 }",
    "ping_least": "ping { }",
    "pong": "pong { nonce: 127 }",
    "goodbye": "goodbye { }",
    "call_stream": """call {
        id: 3 codec: CODEC_MSGPACK stream_items: 4096 stream_bytes: 1048576 }""",
    "call_shared": "call { id: 3 codec: CODEC_MSGPACK shared: true }",
    "stream_item": """stream_item {
        id: 6 payload: "\\xc0\\xc3\\x01" codec: CODEC_MSGPACK first: 0xfffffffff count: 3 }""",
    "stream_item_least": 'stream_item { id: 1 codec: CODEC_RICH payload: "\\xc0" count: 1 }',
    "stream_credit": "stream_credit { id: 6 items: 300 bytes: 0xffffffffffffffff }",
    "stream_end": "stream_end { id: 6 items: 70000 events: 12 }",
    "progress": """progress {
        sequence: 4 call: 6 done: 0.5 total: 2.25 has_total: true message: "page \\303\\237" }""",
    "progress_least": "progress { call: 1 }",
    "event": 'event { sequence: 5 call: 6 kind: EVENT_REFUSED text: "open" }',
    "event_least": "event { kind: EVENT_REFUSED }",
    "memory_request": "memory_request { id: 6 size: 67108864 number: 2 }",
    "memory_grant": "memory_grant { id: 6 size: 67108864 number: 2 warm: true }",
    "memory_refusal": "memory_grant { id: 6 size: 1 number: 300 error: 24 }",
    "cancel": "cancel { id: 6 timeout: true }",
    "client_hello": """client_hello {
        version: 1 max_frame: 16777216 nonce: "0123456789abcdef0123456789abcdef" key: "ops" }""",
    "server_hello": r"""server_hello {
        version: 1 max_frame: 16777216 nonce: "0123456789abcdef0123456789abcdef"
        proof: "fedcba9876543210fedcba9876543210" }""",
    "authenticate": 'authenticate { proof: "fedcba9876543210fedcba9876543210" }',
    "welcome": """welcome {
        role: "reader" max_in_flight: 64 max_payload: 1048576 functions { name: "extract" }
        sees_all: true }""",
    "welcome_least": "welcome { max_in_flight: 1 }",
    "denied": 'denied { end: 40 text: "no" correlation: "1-2" retry_us: 300 }',
    "call_end": """call_end {
        id: 6 end: 2 text: "it crashed" correlation: "1-3" retry_us: 1 limit: 2 used: 3 how: "h"
        death { signal: 11 exit_code: 1 cause: "signal" python_stack: "s" stderr_tail: "e" pid: 7
                worker: 8 age: 0.5 tasks_done: 9 }
        payload: "\\xc0" codec: CODEC_RICH count: 1 }""",
    "call_end_least": "call_end { id: 1 end: 10 }",
    "call_options": """call_options {
        id: 6 run_us: 1 queue_us: 2 priority: -3 memory: 4 cpu_us: 5 output: 6 result_size: 7
        item_us: 8 }""",
    "revoke": "revoke { id: 6 kill: true }",
}


def encode(text: str) -> bytes:
    """The Envelope's bytes; raises CalledProcessError when the text does not fit the schema."""
    command = ["protoc", f"-I{PROTO.parent}", "--encode=pyproc.v1.Envelope", PROTO.name]
    return subprocess.run(command, input=text.encode(), stdout=subprocess.PIPE, check=True).stdout


def render() -> str:
    """The whole header."""
    lines = [
        "/* golden.h - made by make.py with protoc's reference encoder; do not edit.",
        " *",
        " * Every kind of message, once with all its fields and once with the least.",
        " */",
        "#ifndef PP_TESTS_GOLDEN_H",
        "#define PP_TESTS_GOLDEN_H",
        "",
        "#include <stddef.h>",
        "#include <stdint.h>",
        "",
        "/* clang-format off */",
    ]
    for name, text in MESSAGES.items():
        body = encode(text)
        lines.append(f"static const uint8_t golden_{name}[] = {{")
        for start in range(0, len(body), 16):
            lines.append("    " + " ".join(f"0x{byte:02x}," for byte in body[start : start + 16]))
        lines.append("};")
    lines += ["", "static const struct golden {", "    const char *name;"]
    lines += ["    const uint8_t *body;", "    size_t size;", "} goldens[] = {"]
    lines += [f'    {{"{name}", golden_{name}, sizeof golden_{name}}},' for name in MESSAGES]
    lines += ["};", "/* clang-format on */", "", "#endif", ""]
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Writes the header, or with --check answers 1 when it is not what would be written."""
    text = render()
    if arguments == ["--check"]:
        return int(HEADER.read_text() != text)
    HEADER.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
