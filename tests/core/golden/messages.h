/* messages.h - the structs that golden.h's bytes stand for, in the same order. */
#ifndef PP_TESTS_MESSAGES_H
#define PP_TESTS_MESSAGES_H

#include "wire/message.h"

/* clang-format off */
#define TEXT(literal) {(const uint8_t *)(literal), sizeof(literal) - 1}

static const struct pp_function_source sources[] = {
    {.name = TEXT("extract"), .module = TEXT("docs"), .qualname = TEXT("Reader.extract"),
     .file = TEXT("/srv/app/docs.py"), .pickled = TEXT("\x80\x05\x00.")},
    {.name = TEXT("gr\xc3\xb6\xc3\x9f" "e")},
};
static const struct pp_bytes search_path[] = {TEXT("/srv/app"), TEXT(""), TEXT("/usr/lib/python3")};
static const struct pp_function_info infos[] = {
    {.name = TEXT("extract"), .signature = TEXT("(data: bytes, page: int = 0) -> str")},
    {.name = TEXT("pages"),
     .kind = PP_FUNCTION_ASYNC_GENERATOR,
     .batch = 32,
     .batch_wait_us = 10000},
    {.name = TEXT("")},
};
static const struct pp_function_info allowed[] = {{.name = TEXT("extract")}};
static const struct pp_message_death death = {
    .signal = 11, .exit_code = 1, .cause = TEXT("signal"), .python_stack = TEXT("s"),
    .stderr_tail = TEXT("e"), .pid = 7, .worker = 8, .age = 0.5, .tasks_done = 9};
static const struct pp_bytes keywords[] = {TEXT("page"), TEXT(""), TEXT("\xe2\x82\xac")};
static const struct pp_bytes notes[] = {TEXT("first"), TEXT("")};
static const struct pp_failure_node nodes[] = {
    {.relation = PP_RELATION_ROOT, .type_name = TEXT("builtins.ExceptionGroup"),
     .message = TEXT("two"), .traceback = TEXT("Traceback\n"), .arguments = TEXT("\x90"),
     .attributes = TEXT("\x80"), .notes = notes, .n_notes = 2, .suppress_context = true},
    {.relation = PP_RELATION_MEMBER, .type_name = TEXT("KeyError"), .message = TEXT("'k'")},
    {.relation = PP_RELATION_CAUSE, .parent = 1, .type_name = TEXT("OSError")},
    {.relation = PP_RELATION_CONTEXT, .parent = 2},
};

static const struct pp_message messages[] = {
    {PP_MESSAGE_HELLO, {.hello = {
        .version = 1, .max_frame = 16777216, .max_result = 67108864,
        .max_memory = 268435456, .buffer_threshold = 65536,
        .target_kind = PP_TARGET_FUNCTIONS, .target = TEXT("docs:app"),
        .file = TEXT("/srv/app/docs.py"), .functions = sources, .n_functions = 2,
        .path = search_path, .n_path = 3, .prefix = TEXT("/venv"), .base_prefix = TEXT("/usr"),
        .python_version = TEXT("3.11.2")}}},
    {PP_MESSAGE_HELLO, {.hello = {.max_frame = 1, .target_kind = PP_TARGET_MODULE}}},
    {PP_MESSAGE_HELLO_REPLY, {.hello_reply = {
        .version = 1, .python_version = TEXT("3.11.2"), .prefix = TEXT("/venv"),
        .base_prefix = TEXT("/usr"), .functions = infos, .n_functions = 3}}},
    {PP_MESSAGE_HELLO_REPLY, {.hello_reply = {.version = 0}}},
    {PP_MESSAGE_CALL, {.call = {
        .id = 0x0102030405060708, .function = TEXT("extract"),
        .payload = TEXT("\x92\xc4\x01\x00\x2a"), .codec = PP_CODEC_RICH, .keywords = keywords,
        .n_keywords = 3, .remaining_us = 30000000, .items = 3,
        .baggage = TEXT("\x81\xa5" "docs:\x01"), .attachments = 16}}},
    {PP_MESSAGE_CALL, {.call = {.id = 1, .codec = PP_CODEC_MSGPACK}}},
    {PP_MESSAGE_CALL, {.call = {
        .id = UINT64_MAX, .codec = PP_CODEC_PICKLE, .remaining_us = UINT64_MAX,
        .function = TEXT("f"), .payload = TEXT(
            "0123456789012345678901234567890123456789012345678901234567890123456789"
            "0123456789012345678901234567890123456789012345678901234567890123456789")}}},
    {PP_MESSAGE_RESULT, {.result = {
        .id = 0x8000000000000001, .payload = TEXT("\x81\xa1" "a\x01"), .codec = PP_CODEC_MSGPACK,
        .events = 12345678901, .base = 4294967290, .count = 4}}},
    {PP_MESSAGE_RESULT, {.result = {.id = 1, .codec = PP_CODEC_RICH}}},
    {PP_MESSAGE_FAILURE, {.failure = {
        .id = 77, .kind = PP_FAILURE_VALIDATION, .nodes = nodes, .n_nodes = 4, .events = 300,
        .path = TEXT("argument 'page'")}}},
    {PP_MESSAGE_FAILURE, {.failure = {
        .kind = PP_FAILURE_START, .nodes = &(const struct pp_failure_node){.parent = 0},
        .n_nodes = 1}}},
    {PP_MESSAGE_CHUNK_PART, {.chunk_part = {
        .id = 5, .base = 128, .count = 2, .payload = TEXT("\xc0\xc3")}}},
    {PP_MESSAGE_RETURNED, {.returned = 0xdeadbeef}},
    {PP_MESSAGE_LOG, {.log = {
        .sequence = 9, .call = 77, .level = -10, .logger = TEXT("docs.reader"),
        .message = TEXT("page \xf0\x9f\x93\x84"), .exception = TEXT("Traceback"),
        .extra = TEXT("\x80"), .created = 1700000000.25, .dropped = 2}}},
    {PP_MESSAGE_LOG, {.log = {.level = 0}}},
    {PP_MESSAGE_PING, {.nonce = UINT64_MAX}},
    {PP_MESSAGE_PING, {.nonce = 0}},
    {PP_MESSAGE_PONG, {.nonce = 127}},
    {PP_MESSAGE_GOODBYE, {.nonce = 0}},
    {PP_MESSAGE_CALL, {.call = {
        .id = 3, .codec = PP_CODEC_MSGPACK, .stream_items = 4096, .stream_bytes = 1048576}}},
    {PP_MESSAGE_CALL, {.call = {.id = 3, .codec = PP_CODEC_MSGPACK, .shared = true}}},
    {PP_MESSAGE_STREAM_ITEM, {.stream_item = {
        .id = 6, .payload = TEXT("\xc0\xc3\x01"), .codec = PP_CODEC_MSGPACK,
        .first = 0xfffffffff, .count = 3}}},
    {PP_MESSAGE_STREAM_ITEM, {.stream_item = {
        .id = 1, .codec = PP_CODEC_RICH, .payload = TEXT("\xc0"), .count = 1}}},
    {PP_MESSAGE_STREAM_CREDIT, {.stream_credit = {.id = 6, .items = 300, .bytes = UINT64_MAX}}},
    {PP_MESSAGE_STREAM_END, {.stream_end = {.id = 6, .items = 70000, .events = 12}}},
    {PP_MESSAGE_PROGRESS, {.progress = {
        .sequence = 4, .call = 6, .done = 0.5, .total = 2.25, .has_total = true,
        .message = TEXT("page \xc3\x9f")}}},
    {PP_MESSAGE_PROGRESS, {.progress = {.call = 1}}},
    {PP_MESSAGE_EVENT, {.event = {
        .sequence = 5, .call = 6, .kind = PP_EVENT_REFUSED, .text = TEXT("open")}}},
    {PP_MESSAGE_EVENT, {.event = {.kind = PP_EVENT_REFUSED}}},
    {PP_MESSAGE_MEMORY_REQUEST, {.memory_request = {.id = 6, .size = 67108864, .number = 2}}},
    {PP_MESSAGE_MEMORY_GRANT,
     {.memory_grant = {.id = 6, .size = 67108864, .number = 2, .warm = true}}},
    {PP_MESSAGE_MEMORY_GRANT, {.memory_grant = {.id = 6, .size = 1, .number = 300, .error = 24}}},
    {PP_MESSAGE_CANCEL, {.cancel = {.id = 6, .timeout = true}}},
    {PP_MESSAGE_CLIENT_HELLO, {.client_hello = {
        .version = 1, .max_frame = 16777216, .nonce = TEXT("0123456789abcdef0123456789abcdef"),
        .key = TEXT("ops")}}},
    {PP_MESSAGE_SERVER_HELLO, {.server_hello = {
        .version = 1, .max_frame = 16777216, .nonce = TEXT("0123456789abcdef0123456789abcdef"),
        .proof = TEXT("fedcba9876543210fedcba9876543210")}}},
    {PP_MESSAGE_AUTHENTICATE, {.proof = TEXT("fedcba9876543210fedcba9876543210")}},
    {PP_MESSAGE_WELCOME, {.welcome = {
        .role = TEXT("reader"), .max_in_flight = 64, .max_payload = 1048576,
        .functions = allowed, .n_functions = 1, .sees_all = true}}},
    {PP_MESSAGE_WELCOME, {.welcome = {.max_in_flight = 1}}},
    {PP_MESSAGE_DENIED, {.denied = {
        .end = 40, .text = TEXT("no"), .correlation = TEXT("1-2"), .retry_us = 300}}},
    {PP_MESSAGE_CALL_END, {.call_end = {
        .id = 6, .end = 2, .text = TEXT("it crashed"), .correlation = TEXT("1-3"), .retry_us = 1,
        .limit = 2, .used = 3, .how = TEXT("h"), .death = &death, .payload = TEXT("\xc0"),
        .codec = PP_CODEC_RICH, .count = 1}}},
    {PP_MESSAGE_CALL_END, {.call_end = {.id = 1, .end = 10}}},
    {PP_MESSAGE_CALL_OPTIONS, {.call_options = {
        .id = 6, .run_us = 1, .queue_us = 2, .priority = -3, .memory = 4, .cpu_us = 5, .output = 6,
        .result_size = 7, .item_us = 8}}},
    {PP_MESSAGE_REVOKE, {.revoke = {.id = 6, .kill = true}}},
};
/* clang-format on */

#endif
