// The table of the provider `reference`, in one explicit list.
#include "kernels/reference/kernels.hpp"

#include "kernels/reference/support.hpp"

namespace tenon {

const KernelTable& reference_rows() {
  static const KernelTable rows = [] {
    KernelTable table;
    reference::append_conv2d_rows(table);
    reference::append_matmul_rows(table);
    reference::append_bias_rows(table);
    reference::append_pool2d_rows(table);
    reference::append_pointwise_rows(table);
    reference::append_pointwise_chain_rows(table);
    reference::append_loss_rows(table);
    reference::append_softmax_rows(table);
    reference::append_shape_rows(table);
    reference::append_gather_rows(table);
    reference::append_reduce_rows(table);
    reference::append_update_rows(table);
    reference::append_custom_rows(table);
    return table;
  }();
  return rows;
}

}  // namespace tenon
