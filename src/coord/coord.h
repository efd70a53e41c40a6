/* The request coordinator: get and put (paper §4.5, §5, §6.4).
 *
 * A node runs one small state machine for each request that it coordinates.
 *
 * PUT                            another coordinator is better placed
 *      start ----------------------------------------------> FORWARDED
 *        |                                                     |     | it has certainly not done it:
 *        | this node is one of the first N healthy             |     | the next candidate, at last this node
 *        v                          answered, silent, or down: |     v
 *     STAMPING -- refused: reply ------------------------------+--> (freed)
 *        | own replica has read, merged, stamped               |
 *        v                                                     |
 *     WRITING -- W, PW, DW reached: reply -> REPLIED -- all answered, or `hedge` passed: hints for the rest -> (freed)
 *        |
 *        +---- nobody left to ask, or `request-timeout`: reply the error -> (freed)
 *
 * GET  start -> READING -- R, PR reached: reply -> REPLIED -- all answered, or `repair-window` passed: repair ->
 * (freed)
 *                  |
 *                  +------ nobody left to ask, or `request-timeout`: reply the error -> (freed)
 *
 * The first N *healthy* nodes of the preference list take part (sloppy quorum, §4.6): a stand-in writes for the `owner`
 * it stands in for. A replica that fails or is silent for `hedge` is joined by the next stand-in; when there is none
 * the coordinator itself keeps a hint (which does not count towards W). Reads are coordinated where they arrive: that
 * needs no state of the key and spares the paper's forwarding hop (docs/adr/0003). All N are asked, the fastest R
 * suffice; the others' answers are awaited after the reply, and replicas found behind are sent what the read merged
 * (read repair).
 *
 * While the ring changes (docs/adr/0005) a put has a preference list of each of the two live layouts, and wants W, PW
 * and DW in each by itself. A node counts in a layout as a replica, or as the stand-in for one: for those of a layout
 * who are away its own list gives the stand-ins, so that who reads by it finds them; when it has none left, a replica
 * by the other layout will do, so that no write is refused because a node joins. Gets go by the layout by which is
 * read, and a put is coordinated by one of its first N: to whom a partition is still moving does not know what a blind
 * put replaces.
 *
 * A forwarded put is tried elsewhere only when its coordinator has certainly not done it (it said so). Silence or a
 * lost connection is answered to the client as TIMEOUT, which says that the write may have taken effect: tried again,
 * it could stand there twice, as two siblings of which a reader has seen one only (docs/adr/0004). A coordinator takes
 * a forward once however often it comes.
 *
 * INVARIANTS: answers are counted per distinct node, never per message; each command gets exactly one reply; a request
 * holds its key and its objects until it is freed; an OK put had, in each layout that was live when it was planned, W
 * distinct nodes with the version, DW of them durably, PW of them primaries.
 */
#ifndef GRAMME_COORD_COORD_H
#define GRAMME_COORD_COORD_H

#include "seam/step.h"

struct coord;

size_t coord_size(void);
/* `memory` has coord_size() bytes, aligned to 64, zeroed. */
/* `first` is where request numbers begin: they must not repeat those of an earlier life of the node. */
struct coord *coord_init(void *memory, uint32_t first);

/* Gives back every blob that is held: before the pool goes. Nobody is answered. */
void coord_deinit(struct coord *coord);

/* GET, PUT, EXPLAIN from a client. */
void coord_command(struct coord *coord, struct step *step, const struct command *command);
/* FORWARD, READ_REPLY, WRITE_ACK, STAMPED, FORWARD_REPLY. */
void coord_message(struct coord *coord, struct step *step, uint32_t from, const struct message *message);
/* A FORWARD that this node may not take now: tells the forwarder, who may then try elsewhere. What has been refused
 * once stays refused: a second copy of the message must not be taken. */
void coord_refuse_forward(struct coord *coord, struct step *step, uint32_t from, const struct message *message,
                          enum err err);
void coord_peer_down(struct coord *coord, struct step *step, uint32_t node);
void coord_tick(struct coord *coord, struct step *step);
uint64_t coord_deadline(const struct coord *coord);
uint32_t coord_in_flight(const struct coord *coord);
/* No put that was planned before this epoch of the layouts (step->epoch) is still to be answered. */
bool coord_is_settled(const struct coord *coord, uint32_t epoch);
/* Nothing is under way that was begun before this turn (see member/low.h). */
bool coord_is_past(const struct coord *coord, uint32_t turn);
/* Nothing at all is still to be answered. */
bool coord_is_idle(const struct coord *coord);

/* Is this answer meant for the coordinator, rather than for hint delivery? By its request number. */
bool coord_owns_request(uint64_t request);

#endif
