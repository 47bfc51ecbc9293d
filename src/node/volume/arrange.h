/* arrange.h - layers that lie on several members of their pool at once. */
#ifndef NODE_VOLUME_ARRANGE_H
#define NODE_VOLUME_ARRANGE_H

#include "node/volume/private.h"
#include "node/volume/words.h"

/* How the words of a disk call the bytes of a layer. */
struct arrange_name {
    const char *name;
    bool writes;
    bool unlocked; /* others read what is there already, and that stays as it is */
    bool
        promote; /* asynchronous: who follows takes over from a first member that is lost */
};

/* Words for the node of that name, with a layer's bytes as they are stored. */
int arrange_words(struct node *n, const struct layer *l, const struct arrange_name *as,
                  struct words *w, struct err *e);

/* The same below the layer's own filter, if it has one (option_layer.h). */
int arrange_below(struct node *n, const struct layer *l, const struct arrange_name *as,
                  struct words *w, struct err *e);

/* The map of a span, as NAME.map: several copies NAME.map0, NAME.map1 are a mirror. */
int arrange_map_words(struct node *n, const struct layer *l,
                      const struct arrange_name *as, struct words *w, struct err *e);

/* As the order has it: how layers of that pool are arranged, and on which of the members that
 * take them; -ENOSPC: too few are there. */
int arrange_choose(const json_t *pool, struct pool_choice *choice, const char **ret,
                   struct err *e);

/* The format in which such a layer can hold a disk of that size. */
const char *arrange_format(const char *arrangement, const char *format,
                           uint64_t size_bytes);

/* What the bytes of a layer may come to, whatever is written. */
uint64_t arrange_bytes(const struct layer *l);

/* The words of `create` for the layer's image on the node `disk`. */
int arrange_add_image(struct node *n, const struct layer *l, const struct layer_plan *p,
                      struct words *w, struct err *e);

/* What an image of that size needs of the disk over the members. */
uint64_t arrange_room(uint64_t size_bytes);

/* Files on its members, arranged, and the empty image in them; durable. */
int arrange_make(struct node *n, const struct layer *l, const struct layer_plan *p,
                 struct err *e);

/* Whether what is written to it goes through a journal first: one with parity. */
bool arrange_has_journal(const struct layer *l);

/* Finish what a server that was killed had begun to write, before the layer is frozen. */
int arrange_settle(struct node *n, const struct layer *l, struct err *e);

/* Lines of the program about the layer as it is stored, opened for reading; -ENODEV: too
 * little of it is there. */
int arrange_ask(struct node *n, const struct layer *l, const struct arrange_name *as,
                words_line_fn *line, void *arg, struct err *e);

/* How many members it can do without, of those that it has; 0: none. */
unsigned arrange_spare(const struct layer *l);

/* Make all members equal that are there, and put right what differs. */
int arrange_mend(struct node *n, const struct layer *l, struct err *e);

/* Rows that say how each of its members is; the caller owns it. */
json_t *arrange_look(struct node *n, const struct layer *l, bool *ret_all_well);

#endif
