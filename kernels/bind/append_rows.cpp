// The families of rows, in one explicit list.
#include "kernels/bind/rows.hpp"

namespace tenon::bind {

void append_rows(KernelTable& table, const Loops& loops) {
  append_pointwise_rows(table, loops);
  append_row_rows(table, loops);
  append_pool_rows(table, loops);
  append_shape_rows(table, loops);
  append_update_rows(table, loops);
}

}  // namespace tenon::bind
