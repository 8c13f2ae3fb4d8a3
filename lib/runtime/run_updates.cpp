// An update's kernel on a part of its elements: the same addresses, so many elements further on.
#include "lib/runtime/run_updates.hpp"

namespace tenon {
namespace {

constexpr std::int64_t element = sizeof(float);

/// `count` elements from `first` on; `in` and `out` are the operands of all of them.
void run_part(const PartOfUpdate& part, const Call& call, const void* const* in, void* const* out, std::int64_t first,
              std::int64_t count, std::int32_t threads) {
  const void* from[Problem::max_in];
  void* to[Problem::max_out];
  for (std::int32_t i = 0; i < part.ins; ++i) from[i] = static_cast<const std::byte*>(in[i]) + first * element;
  for (std::int32_t i = 0; i < part.outs; ++i) to[i] = static_cast<std::byte*>(out[i]) + first * element;
  part.update.run({.in = from,
                   .out = to,
                   .control = call.control,
                   .state = part.update.state.get(),
                   .threads = threads,
                   .elements = count});
}

/// The update behind a product, and the call of both.
struct Following : Finish {
  const ProductThenUpdate* both = nullptr;
  const Call* call = nullptr;
};

void follow(const Finish& finish, std::int64_t begin, std::int64_t count) {
  const auto& following = static_cast<const Following&>(finish);
  const ProductThenUpdate& both = *following.both;
  const Call& call = *following.call;
  // The gradient's address is that of the slab as well.
  const void* in[Problem::max_in] = {call.in[both.ins],
                                     static_cast<const std::byte*>(call.out[0]) - both.part.first * element};
  for (std::int32_t i = 2; i < both.part.ins; ++i) in[i] = call.in[both.ins + i - 1];
  run_part(both.part, call, in, call.out + both.outs, both.part.first + begin, count, 1);
}

}  // namespace

void run_product_then_update(const Call& call) {
  const auto& both = state_of<ProductThenUpdate>(call);
  Following following;
  following.run = follow;
  following.both = &both;
  following.call = &call;
  Call product = call;
  product.state = both.product.state.get();
  product.finish = &following;
  both.product.run(product);
}

void run_update_of_rest(const Call& call) {
  const auto& rest = state_of<UpdateOfRest>(call);
  for (const UpdateOfRest::Range& r : rest.ranges)
    run_part(rest.whole, call, call.in, call.out, r.first, r.count, call.threads);
}

}  // namespace tenon
