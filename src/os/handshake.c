#include "os/handshake.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

#include "base/assert.h"

#define RECORD_MAGIC BYTES_LITERAL("GRAMMEP\n")
#define RECORD_HEADER_BYTES 14u
#define RECORD_BODY_MAX_BYTES 256u
#define PROOF_LABEL BYTES_LITERAL("gramme node proof")

/* For whoever took this port for the one for clients. */
#define STRANGER BYTES_LITERAL("-ERR this port is for other gramme nodes; clients connect to the client port\r\n")

enum record_kind { RECORD_HELLO = 1, RECORD_PROOF = 2, RECORD_REFUSE = 3 };

const char *refusal_text(enum refusal refusal) {
  static const char *const texts[REFUSAL_COUNT] = {
#define X(name, number, text) [REFUSAL_##name] = (text),
      REFUSAL_TABLE(X)
#undef X
  };
  bool known = refusal > REFUSAL_NONE && refusal < REFUSAL_COUNT;
  return known ? texts[refusal] : "for a reason that this version does not know";
}

const char *refusal_name(enum refusal refusal) {
  static const char *const names[REFUSAL_COUNT] = {
      [REFUSAL_NONE] = "none",       [REFUSAL_MAGIC] = "magic",     [REFUSAL_OLDER] = "older",
      [REFUSAL_NEWER] = "newer",     [REFUSAL_CLUSTER] = "cluster", [REFUSAL_SECRET] = "secret",
      [REFUSAL_SELF] = "self",       [REFUSAL_TWIN] = "twin",       [REFUSAL_MALFORMED] = "malformed",
      [REFUSAL_TIMEOUT] = "timeout", [REFUSAL_CROWDED] = "crowded", [REFUSAL_OTHER] = "other",
      [REFUSAL_TOLD] = "told",
  };
  return (unsigned)refusal < REFUSAL_COUNT ? names[refusal] : "unknown";
}

static void record_write(const struct handshake *handshake, struct writer *out, enum record_kind kind,
                         struct bytes body) {
  ASSERT(body.size <= RECORD_BODY_MAX_BYTES);
  write_raw(out, RECORD_MAGIC);
  write_u16(out, handshake->own->version);
  write_u8(out, (uint8_t)kind);
  write_u8(out, 0);
  write_u16(out, (uint16_t)body.size);
  write_raw(out, body);
  ASSERT(!out->failed);
}

static enum handshake_stage handshake_refuse(struct handshake *handshake, struct writer *out, enum refusal refusal) {
  handshake->stage = HANDSHAKE_REFUSED;
  handshake->refusal = refusal;
  if (refusal == REFUSAL_MAGIC) {
    write_raw(out, STRANGER);
  } else if (refusal != REFUSAL_TOLD) {
    uint8_t code = (uint8_t)refusal;
    record_write(handshake, out, RECORD_REFUSE, (struct bytes){&code, 1});
  }
  return handshake->stage;
}

static void hello_write(const struct handshake *handshake, struct writer *out) {
  uint8_t body[RECORD_BODY_MAX_BYTES];
  struct writer w = writer_make(body, sizeof(body));
  const struct handshake_identity *own = handshake->own;
  write_u32(&w, own->node);
  write_u64(&w, own->instance);
  write_raw(&w, (struct bytes){handshake->own_nonce, HANDSHAKE_NONCE_BYTES});
  write_bytes(&w, (struct bytes){(const uint8_t *)own->cluster_name, strlen(own->cluster_name)});
  ASSERT(!w.failed);
  record_write(handshake, out, RECORD_HELLO, writer_bytes(&w));
}

/* The proof of the dialler or of the acceptor, whichever side this is. */
static void proof_make(const struct handshake *handshake, bool of_dialler, uint8_t proof[HANDSHAKE_PROOF_BYTES]) {
  uint8_t text[512];
  struct writer w = writer_make(text, sizeof(text));
  const struct handshake_identity *own = handshake->own;
  bool dialler = handshake->dialler;
  write_raw(&w, PROOF_LABEL);
  write_u16(&w, own->version);
  write_u8(&w, of_dialler ? 1 : 2);
  write_u32(&w, dialler ? own->node : handshake->node);
  write_u32(&w, dialler ? handshake->node : own->node);
  write_u64(&w, dialler ? own->instance : handshake->instance);
  write_u64(&w, dialler ? handshake->instance : own->instance);
  write_raw(&w, (struct bytes){dialler ? handshake->own_nonce : handshake->nonce, HANDSHAKE_NONCE_BYTES});
  write_raw(&w, (struct bytes){dialler ? handshake->nonce : handshake->own_nonce, HANDSHAKE_NONCE_BYTES});
  write_bytes(&w, (struct bytes){(const uint8_t *)own->cluster_name, strlen(own->cluster_name)});
  ASSERT(!w.failed);
  unsigned size = 0;
  const unsigned char *done = HMAC(EVP_sha256(), own->secret, (int)strlen(own->secret), text, w.size, proof, &size);
  ASSERT(done != NULL && size == HANDSHAKE_PROOF_BYTES);
}

static void proof_write(const struct handshake *handshake, struct writer *out) {
  uint8_t proof[HANDSHAKE_PROOF_BYTES];
  proof_make(handshake, handshake->dialler, proof);
  record_write(handshake, out, RECORD_PROOF, (struct bytes){proof, sizeof(proof)});
}

static enum handshake_stage hello_take(struct handshake *handshake, struct bytes body, struct writer *out) {
  const struct handshake_identity *own = handshake->own;
  struct reader r = reader_make(body);
  handshake->node = read_u32(&r);
  handshake->instance = read_u64(&r);
  struct bytes nonce = read_raw(&r, HANDSHAKE_NONCE_BYTES);
  struct bytes name = read_bytes(&r);
  if (r.failed || handshake->node == 0 || name.size > NAME_MAX_BYTES) {
    return handshake_refuse(handshake, out, REFUSAL_MALFORMED);
  }
  memcpy(handshake->nonce, nonce.data, HANDSHAKE_NONCE_BYTES);
  if (name.size > 0) {
    memcpy(handshake->cluster_name, name.data, name.size);
  }
  handshake->cluster_name[name.size] = '\0';
  if (!bytes_equal(name, (struct bytes){(const uint8_t *)own->cluster_name, strlen(own->cluster_name)})) {
    return handshake_refuse(handshake, out, REFUSAL_CLUSTER);
  }
  if (handshake->node == own->node) {
    return handshake_refuse(handshake, out, handshake->instance == own->instance ? REFUSAL_SELF : REFUSAL_TWIN);
  }
  if (handshake->dialler) {
    proof_write(handshake, out);
  } else {
    hello_write(handshake, out);
  }
  handshake->stage = HANDSHAKE_PROOF;
  return handshake->stage;
}

static enum handshake_stage proof_take(struct handshake *handshake, struct bytes body, struct writer *out) {
  uint8_t wanted[HANDSHAKE_PROOF_BYTES];
  if (body.size != HANDSHAKE_PROOF_BYTES) {
    return handshake_refuse(handshake, out, REFUSAL_MALFORMED);
  }
  proof_make(handshake, !handshake->dialler, wanted);
  if (CRYPTO_memcmp(wanted, body.data, sizeof(wanted)) != 0) {
    return handshake_refuse(handshake, out, REFUSAL_SECRET);
  }
  if (!handshake->dialler) {
    proof_write(handshake, out);
  }
  handshake->stage = HANDSHAKE_DONE;
  return handshake->stage;
}

void handshake_init(struct handshake *handshake, const struct handshake_identity *own, bool dialler,
                    const uint8_t nonce[HANDSHAKE_NONCE_BYTES]) {
  ASSERT(own->node != 0);
  ASSERT(strlen(own->cluster_name) <= NAME_MAX_BYTES);
  *handshake = (struct handshake){.own = own, .dialler = dialler};
  handshake->stage = dialler ? HANDSHAKE_IDLE : HANDSHAKE_HELLO;
  memcpy(handshake->own_nonce, nonce, HANDSHAKE_NONCE_BYTES);
}

void handshake_start(struct handshake *handshake, struct writer *out) {
  if (handshake->dialler) {
    ASSERT(handshake->stage == HANDSHAKE_IDLE);
    hello_write(handshake, out);
    handshake->stage = HANDSHAKE_HELLO;
  }
}

enum handshake_stage handshake_take(struct handshake *handshake, struct bytes in, size_t *used, struct writer *out) {
  ASSERT(handshake->stage == HANDSHAKE_HELLO || handshake->stage == HANDSHAKE_PROOF);
  struct bytes magic = RECORD_MAGIC;
  *used = 0;
  /* 1. A stranger is known by his first byte; he may never send as many as a record has. */
  size_t known = in.size < magic.size ? in.size : magic.size;
  if (known > 0 && memcmp(in.data, magic.data, known) != 0) {
    return handshake_refuse(handshake, out, REFUSAL_MAGIC);
  }
  if (in.size < RECORD_HEADER_BYTES) {
    return handshake->stage;
  }
  /* 2. One whole record. */
  struct reader r = reader_make(in);
  (void)read_raw(&r, magic.size);
  uint16_t version = read_u16(&r);
  uint8_t kind = read_u8(&r);
  (void)read_u8(&r);
  uint16_t size = read_u16(&r);
  if (size > RECORD_BODY_MAX_BYTES) {
    return handshake_refuse(handshake, out, REFUSAL_MALFORMED);
  }
  if (reader_left(&r) < size) {
    return handshake->stage;
  }
  struct bytes body = read_raw(&r, size);
  *used = RECORD_HEADER_BYTES + size;
  handshake->version = version;
  /* 3. What it says. A refusal comes before the version: an older or newer one must be able to tell us. */
  if (kind == RECORD_REFUSE) {
    handshake->told = size >= 1 && body.data[0] < REFUSAL_COUNT ? (enum refusal)body.data[0] : REFUSAL_NONE;
    return handshake_refuse(handshake, out, REFUSAL_TOLD);
  }
  if (version != handshake->own->version) {
    return handshake_refuse(handshake, out, version < handshake->own->version ? REFUSAL_OLDER : REFUSAL_NEWER);
  }
  if (kind == RECORD_HELLO && handshake->stage == HANDSHAKE_HELLO) {
    return hello_take(handshake, body, out);
  }
  if (kind == RECORD_PROOF && handshake->stage == HANDSHAKE_PROOF) {
    return proof_take(handshake, body, out);
  }
  return handshake_refuse(handshake, out, REFUSAL_MALFORMED);
}
