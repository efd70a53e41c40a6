/* COMMAND: the table of commands as Redis tells its own. */
#include <string.h>

#include "base/assert.h"
#include "front/commands.h"
#include "front/handlers.h"
#include "front/state.h"

struct flag_word {
  uint32_t flag;
  const char *word;
};

static const struct flag_word command_words[] = {
    {FLAG_WRITE, "write"}, {FLAG_READONLY, "readonly"}, {FLAG_DENYOOM, "denyoom"},
    {FLAG_ADMIN, "admin"}, {FLAG_NOSCRIPT, "noscript"}, {FLAG_LOADING, "loading"},
    {FLAG_STALE, "stale"}, {FLAG_FAST, "fast"},         {FLAG_NO_AUTH, "no_auth"},
};

static const struct flag_word key_words[] = {
    {KEY_RO, "RO"},         {KEY_RW, "RW"},         {KEY_OW, "OW"},         {KEY_RM, "RM"},
    {KEY_ACCESS, "access"}, {KEY_UPDATE, "update"}, {KEY_DELETE, "delete"},
};

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static void output_words(struct output *out, const struct flag_word *words, size_t count, uint32_t flags) {
  size_t set = 0;
  for (size_t i = 0; i < count; i++) {
    set += (flags & words[i].flag) != 0 ? 1 : 0;
  }
  output_set(out, set);
  for (size_t i = 0; i < count; i++) {
    if ((flags & words[i].flag) != 0) {
      output_simple(out, words[i].word);
    }
  }
}

/* The categories of Redis's access lists, as far as they follow from group and flags. */
static size_t categories(const struct command_spec *spec, const char *list[8]) {
  size_t count = 0;
  if (strcmp(spec->group, "generic") == 0) {
    list[count++] = "@keyspace";
  }
  if ((spec->flags & FLAG_READONLY) != 0) {
    list[count++] = "@read";
  }
  if ((spec->flags & FLAG_WRITE) != 0) {
    list[count++] = "@write";
  }
  if (strcmp(spec->group, "string") == 0) {
    list[count++] = "@string";
  }
  if ((spec->flags & FLAG_ADMIN) != 0) {
    list[count++] = "@admin";
  }
  list[count++] = (spec->flags & FLAG_FAST) != 0 ? "@fast" : "@slow";
  if ((spec->flags & FLAG_ADMIN) != 0) {
    list[count++] = "@dangerous";
  }
  if (strcmp(spec->group, "connection") == 0) {
    list[count++] = "@connection";
  }
  return count;
}

static void output_key_specs(struct output *out, const struct command_spec *spec) {
  output_set(out, spec->step > 0 ? 1 : 0);
  if (spec->step == 0) {
    return;
  }
  output_map(out, 3);
  output_bulk_text(out, "flags");
  output_words(out, key_words, COUNT_OF(key_words), spec->flags);
  output_bulk_text(out, "begin_search");
  output_map(out, 2);
  output_bulk_text(out, "type");
  output_bulk_text(out, "index");
  output_bulk_text(out, "spec");
  output_map(out, 1);
  output_bulk_text(out, "index");
  output_integer(out, spec->first);
  output_bulk_text(out, "find_keys");
  output_map(out, 2);
  output_bulk_text(out, "type");
  output_bulk_text(out, "range");
  output_bulk_text(out, "spec");
  output_map(out, 3);
  output_bulk_text(out, "lastkey");
  output_integer(out, spec->last < 0 ? spec->last : spec->last - spec->first);
  output_bulk_text(out, "keystep");
  output_integer(out, spec->step);
  output_bulk_text(out, "limit");
  output_integer(out, 0);
}

static size_t subcommand_count(const struct command_spec *spec) {
  size_t count = 0;
  while (spec->subcommands != NULL && spec->subcommands[count].name != NULL) {
    count += 1;
  }
  return count;
}

/* All but the subcommands, which are entries of the same shape without any. */
static void output_entry_head(struct output *out, const struct command_spec *spec) {
  const char *list[8];
  size_t count = categories(spec, list);
  output_array(out, 10);
  output_bulk_text(out, spec->name);
  output_integer(out, spec->arity);
  output_words(out, command_words, COUNT_OF(command_words), spec->flags);
  output_integer(out, spec->first);
  output_integer(out, spec->last);
  output_integer(out, spec->step);
  output_set(out, count);
  for (size_t i = 0; i < count; i++) {
    output_simple(out, list[i]);
  }
  output_set(out, 0); /* tips */
  output_key_specs(out, spec);
}

static void output_entry(struct output *out, const struct command_spec *spec) {
  size_t count = subcommand_count(spec);
  output_entry_head(out, spec);
  output_set(out, count);
  for (size_t i = 0; i < count; i++) {
    output_entry_head(out, &spec->subcommands[i]);
    output_set(out, 0);
  }
}

/* A command by its name, or `config|get`. */
static const struct command_spec *spec_named(const struct front *front, struct bytes name) {
  const uint8_t *bar = name.size == 0 ? NULL : memchr(name.data, '|', name.size);
  if (bar == NULL) {
    return commands_find(front, name);
  }
  size_t size = (size_t)(bar - name.data);
  const struct command_spec *spec = commands_find(front, (struct bytes){name.data, size});
  return spec == NULL ? NULL : subcommand_find(spec, (struct bytes){bar + 1, name.size - size - 1});
}

void handle_command(struct call *call) {
  output_array(call->out, commands_count());
  for (uint32_t i = 0; i < commands_count(); i++) {
    output_entry(call->out, &commands_table[i]);
  }
}

void handle_command_count(struct call *call) {
  output_integer(call->out, commands_count());
}

void handle_command_info(struct call *call) {
  if (call->argc == 2) {
    handle_command(call);
    return;
  }
  output_array(call->out, call->argc - 2);
  for (uint32_t i = 2; i < call->argc; i++) {
    const struct command_spec *spec = spec_named(call->front, call->argv[i]);
    if (spec == NULL) {
      output_null(call->out);
    } else {
      output_entry(call->out, spec);
    }
  }
}

static void output_docs_fields(struct output *out, const struct command_spec *spec) {
  output_bulk_text(out, "summary");
  output_bulk_text(out, spec->summary);
  output_bulk_text(out, "since");
  output_bulk_text(out, spec->since);
  output_bulk_text(out, "group");
  output_bulk_text(out, spec->group);
  output_bulk_text(out, "complexity");
  output_bulk_text(out, spec->complexity);
}

static void output_docs(struct output *out, const struct command_spec *spec) {
  size_t count = subcommand_count(spec);
  output_bulk_text(out, spec->name);
  output_map(out, count > 0 ? 5 : 4);
  output_docs_fields(out, spec);
  if (count > 0) {
    output_bulk_text(out, "subcommands");
    output_map(out, count);
    for (size_t i = 0; i < count; i++) {
      output_bulk_text(out, spec->subcommands[i].name);
      output_map(out, 4);
      output_docs_fields(out, &spec->subcommands[i]);
    }
  }
}

void handle_command_docs(struct call *call) {
  bool all = call->argc == 2;
  uint32_t count = all ? commands_count() : 0;
  for (uint32_t i = 2; i < call->argc; i++) {
    count += spec_named(call->front, call->argv[i]) != NULL ? 1 : 0;
  }
  output_map(call->out, count);
  for (uint32_t i = 0; all && i < commands_count(); i++) {
    output_docs(call->out, &commands_table[i]);
  }
  for (uint32_t i = 2; i < call->argc; i++) {
    const struct command_spec *spec = spec_named(call->front, call->argv[i]);
    if (spec != NULL) {
      output_docs(call->out, spec);
    }
  }
}

static bool listed(const struct command_spec *spec, struct bytes kind, struct bytes what) {
  if (kind.data == NULL) {
    return true;
  }
  if (word_is(kind, "PATTERN")) {
    return glob_matches(what, (struct bytes){(const uint8_t *)spec->name, strlen(spec->name)}, true);
  }
  const char *list[8];
  size_t count = word_is(kind, "ACLCAT") ? categories(spec, list) : 0;
  for (size_t i = 0; i < count; i++) {
    if (word_is(what, list[i] + 1)) {
      return true;
    }
  }
  return false; /* MODULE: there are none */
}

/* COMMAND LIST [FILTERBY MODULE | ACLCAT | PATTERN what] */
void handle_command_list(struct call *call) {
  struct bytes kind = {NULL, 0};
  struct bytes what = {NULL, 0};
  if (call->argc == 5 && word_is(call->argv[2], "FILTERBY")) {
    kind = call->argv[3];
    what = call->argv[4];
  }
  bool known = word_is(kind, "MODULE") || word_is(kind, "ACLCAT") || word_is(kind, "PATTERN");
  if (call->argc != 2 && !known) {
    call_syntax_error(call);
    return;
  }
  uint32_t count = 0;
  for (uint32_t i = 0; i < commands_count(); i++) {
    count += listed(&commands_table[i], kind, what) ? 1 : 0;
  }
  output_array(call->out, count);
  for (uint32_t i = 0; i < commands_count(); i++) {
    if (listed(&commands_table[i], kind, what)) {
      output_bulk_text(call->out, commands_table[i].name);
    }
  }
}

void handle_command_getkeys(struct call *call) {
  const struct command_spec *spec = commands_find(call->front, call->argv[2]);
  uint32_t argc = call->argc - 2;
  if (spec == NULL) {
    output_error(call->out, "ERR Invalid command specified");
  } else if (spec->step == 0) {
    output_error(call->out, "ERR The command has no key arguments");
  } else if (!arity_fits(spec, argc)) {
    output_error(call->out, "ERR Invalid number of arguments specified for command");
  } else {
    uint32_t last = spec->last < 0 ? argc - 1 : (uint32_t)spec->last;
    uint32_t first = (uint32_t)spec->first;
    uint32_t step = (uint32_t)spec->step;
    ASSERT(last >= first);
    output_array(call->out, (last - first) / step + 1);
    for (uint32_t i = first; i <= last; i += step) {
      output_bulk(call->out, call->argv[2 + i]);
    }
  }
}

void handle_command_help(struct call *call) {
  static const char *const lines[] = {
      "COMMAND [<subcommand> [<arg> ...]]. Without one: all about all commands. Subcommands are:",
      "COUNT",
      "    How many commands there are.",
      "DOCS | INFO [<name> ...]",
      "    What they are for; arity, flags and keys.",
      "GETKEYS <command> [<arg> ...]",
      "    The keys of a full command.",
      "LIST [FILTERBY MODULE | ACLCAT | PATTERN <what>]",
      "    Their names.",
      "HELP",
      "    This text.",
  };
  output_lines(call->out, lines, COUNT_OF(lines));
}
