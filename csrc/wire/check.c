/* check.c - walks a body against the schema before anything is unpacked.
 *
 * protobuf-c takes what the format allows: unknown fields it keeps, repeated
 * single fields it merges, text it does not look at. We accept only what our own
 * writers make. The descriptors that protoc-c generates are the schema, so a new
 * message needs no code here. Nothing is allocated; recursion ends at the schema's
 * own depth, which DEPTH_MAX only bounds once more.
 */
#include "wire/envelope.h"

#include "pyproc.pb-c.h"

enum { DEPTH_MAX = 4 }; /* the envelope is the first level */

/* Wire types of the protobuf encoding. */
enum { WIRE_VARINT = 0, WIRE_64BIT = 1, WIRE_LENGTH = 2 };

struct walk {
    size_t fields; /* met so far, on all levels */
    size_t nodes;  /* of a failure, the message whose parts cost most memory */
};

static int check_message(struct walk *walk, const ProtobufCMessageDescriptor *type,
                         struct pp_cursor in, unsigned depth);

static int take_tag(struct pp_cursor *in, uint32_t *numberp, unsigned *wirep)
{
    uint64_t tag;

    if (!pp_take_varint(in, &tag) || tag > UINT32_MAX)
        return pp_message_bad("a field's tag is malformed");
    *numberp = (uint32_t)(tag >> 3);
    *wirep = (unsigned)(tag & 7);
    return 0;
}

/* The whole value must fit the field: protobuf-c would cut it silently. */
static int check_varint(const ProtobufCFieldDescriptor *field, struct pp_cursor *in)
{
    uint64_t value;
    bool fits;

    if (!pp_take_varint(in, &value))
        return pp_message_bad("a varint is malformed");
    switch (field->type) {
    case PROTOBUF_C_TYPE_UINT64:
        fits = true;
        break;
    case PROTOBUF_C_TYPE_UINT32:
        fits = value <= UINT32_MAX;
        break;
    case PROTOBUF_C_TYPE_INT32:
        fits = value <= INT32_MAX || value >= (uint64_t)INT32_MIN;
        break;
    case PROTOBUF_C_TYPE_BOOL:
        fits = value <= 1;
        break;
    default: /* PROTOBUF_C_TYPE_ENUM */
        if (value > INT32_MAX ||
            protobuf_c_enum_descriptor_get_value(field->descriptor, (int)value) == NULL)
            return pp_message_bad("an enum has no such value");
        return 0;
    }
    return fits ? 0 : pp_message_bad("a number is too large for its field");
}

static int check_length(struct walk *walk, const ProtobufCFieldDescriptor *field,
                        struct pp_cursor *in, unsigned depth)
{
    struct pp_bytes bytes;

    if (!pp_take_bytes(in, &bytes))
        return pp_message_bad("a length points outside its message");
    if (field->type == PROTOBUF_C_TYPE_STRING && !pp_text_valid(bytes.data, bytes.size))
        return pp_message_bad("a string is not utf-8 or has a NUL inside");
    if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
        struct pp_cursor inside = {.at = bytes.data, .end = bytes.data + bytes.size};

        if (field->descriptor == &pyproc__v1__failure_node__descriptor &&
            ++walk->nodes > PP_FAILURE_NODES_MAX)
            return pp_message_bad("failure: too many nodes");
        return check_message(walk, field->descriptor, inside, depth + 1);
    }
    return 0;
}

/* The wire type a field of this type must have; -1 for types our schema does not use. */
static int wire_of(const ProtobufCFieldDescriptor *field)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        return WIRE_LENGTH;
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return field->label == PROTOBUF_C_LABEL_REPEATED ? -1 : WIRE_64BIT;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_BOOL:
    case PROTOBUF_C_TYPE_ENUM:
        return field->label == PROTOBUF_C_LABEL_REPEATED ? -1 : WIRE_VARINT;
    default:
        return -1;
    }
}

static int check_value(struct walk *walk, const ProtobufCFieldDescriptor *field, unsigned wire,
                       struct pp_cursor *in, unsigned depth)
{
    if ((int)wire != wire_of(field))
        return pp_message_bad("a field has the wrong wire type");
    if (wire == WIRE_VARINT)
        return check_varint(field, in);
    if (wire == WIRE_LENGTH)
        return check_length(walk, field, in, depth);
    if (in->end - in->at < 8)
        return pp_message_bad("a number is cut short");
    in->at += 8;
    return 0;
}

static int check_message(struct walk *walk, const ProtobufCMessageDescriptor *type,
                         struct pp_cursor in, unsigned depth)
{
    uint64_t seen = 0;

    if (depth > DEPTH_MAX || type->n_fields > 64)
        return pp_message_bad("messages nest too deeply");
    while (in.at < in.end) {
        const ProtobufCFieldDescriptor *field;
        uint32_t number;
        unsigned wire;
        int r = take_tag(&in, &number, &wire);

        if (r != 0)
            return r;
        if (++walk->fields > PP_MESSAGE_FIELDS_MAX)
            return pp_message_bad("a message has too many fields");
        field = protobuf_c_message_descriptor_get_field(type, number);
        if (field == NULL)
            return pp_message_bad("a field is unknown");
        if (field->label != PROTOBUF_C_LABEL_REPEATED) {
            uint64_t bit = UINT64_C(1) << (field - type->fields);

            if ((seen & bit) != 0)
                return pp_message_bad("a field comes twice");
            seen |= bit;
        }
        r = check_value(walk, field, wire, &in, depth);
        if (r != 0)
            return r;
    }
    return 0;
}

int pp_envelope_open(const uint8_t *body, size_t n, enum pp_message_kind *kindp,
                     struct pp_cursor *insidep)
{
    struct pp_cursor in = {.at = body, .end = body + n};
    struct pp_bytes inside;
    uint32_t number;
    unsigned wire;

    if (n == 0)
        return pp_message_bad("the envelope is empty");
    if (take_tag(&in, &number, &wire) != 0 || wire != WIRE_LENGTH ||
        protobuf_c_message_descriptor_get_field(&pyproc__v1__envelope__descriptor, number) == NULL)
        return pp_message_bad("the envelope holds no message that is known");
    if (!pp_take_bytes(&in, &inside))
        return pp_message_bad("a length points outside its message");
    if (in.at != in.end)
        return pp_message_bad("the envelope holds more than one message");
    *kindp = (enum pp_message_kind)number;
    *insidep = (struct pp_cursor){.at = inside.data, .end = inside.data + inside.size};
    return 0;
}

int pp_envelope_check(enum pp_message_kind kind, struct pp_cursor inside)
{
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field(&pyproc__v1__envelope__descriptor, (unsigned)kind);
    struct walk walk = {.fields = 1};

    return check_message(&walk, field->descriptor, inside, 2);
}
