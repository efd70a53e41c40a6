/* live: some seconds after healing every key is read through every node with R = N and written with W = N, each within
 * its time-out. The seconds are those that promises and the detection of failures may take. */
#include <inttypes.h>

#include "client.h"

void live_probed(struct run *run, uint32_t node, uint32_t key, const char *what, const struct probe *probe) {
  run->checks.looked[CHECK_live] += 1;
  if (!probe->answered || probe->err != ERR_OK) {
    check_fail(run, CHECK_live, key, "%s of %s through node %" PRIu32 " after healing: %s", what,
               run->oracle.keys[key].text, node + 1, probe->answered ? err_code(probe->err) : "no answer");
  }
}
