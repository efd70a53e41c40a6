/* An intrusive, circular, doubly linked list: the node lies in its owner, linking allocates nothing, and
 * removal needs only the node. An unlinked node points to itself. */
#ifndef GRAMME_OS_LIST_H
#define GRAMME_OS_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
  struct list *next;
  struct list *previous;
};

/* The owner of a node. */
#define LIST_OWNER(node, type, field) ((type *)(void *)((char *)(node)-offsetof(type, field)))

static inline void list_init(struct list *list) {
  list->next = list;
  list->previous = list;
}

/* Of a node: is it in a list. Of a head: is anything in it. */
static inline bool list_linked(const struct list *list) {
  return list->next != list;
}

/* The node must not be linked. */
static inline void list_append(struct list *head, struct list *node) {
  node->next = head;
  node->previous = head->previous;
  head->previous->next = node;
  head->previous = node;
}

/* Unlinked is fine. */
static inline void list_remove(struct list *node) {
  node->previous->next = node->next;
  node->next->previous = node->previous;
  list_init(node);
}

#endif
