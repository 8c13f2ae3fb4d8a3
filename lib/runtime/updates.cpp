// Which gradients take their update along, and what is left of it.
#include "lib/runtime/updates.hpp"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>

#include "lib/runtime/run_updates.hpp"

namespace tenon {
namespace {

constexpr std::int64_t element = sizeof(float);
/// Smaller gradients are still in a cache when the update of the slab comes.
constexpr std::int64_t least_elements = 32768;

struct Bytes {
  std::int64_t begin = 0, end = 0;
  [[nodiscard]] bool meets(const Bytes& b) const { return begin < b.end && b.begin < end; }
  [[nodiscard]] bool holds(const Bytes& b) const { return begin <= b.begin && b.end <= end; }
};

class Joiner {
 public:
  Joiner(const Graph& g, std::vector<BoundNode>& nodes) : g_(g), nodes_(nodes) {}

  void run() {
    for (std::size_t u = 0; u < nodes_.size(); ++u)
      if (is_update(nodes_[u])) share_out(u);
  }

 private:
  [[nodiscard]] Home home(ValueId v) const { return g_.values[static_cast<std::size_t>(g_.storage(v))].home; }
  [[nodiscard]] Bytes bytes(ValueId v) const {
    const std::int64_t at = home(v).offset;
    return {at, at + static_cast<std::int64_t>(g_.spec(v).bytes())};
  }
  [[nodiscard]] bool lies_in(ValueId v, Space space, const Bytes& range) const {
    return home(v).space == space && bytes(v).meets(range);
  }

  /// An update of every gradient in its range, which nothing has treated before: operands are parameter, gradient, states.
  [[nodiscard]] bool is_update(const BoundNode& b) const {
    return b.step.row->pieces == Pieces::elements && b.in.size() == b.out.size() + 1 &&
           home(b.in[1]).space == Space::gradients;
  }
  /// A gradient that is worth it. One that is made of parameters would meet some that are updated already.
  [[nodiscard]] bool is_product(const BoundNode& b) const {
    const auto is_parameter = [&](ValueId v) { return home(v).space == Space::parameters; };
    return b.step.row->pieces == Pieces::results && home(b.out[0]).space == Space::gradients &&
           g_.spec(b.out[0]).shape.elements() >= least_elements && b.step.step.run != run_product_then_update &&
           std::ranges::none_of(b.in, is_parameter);
  }

  /// Joins what the update at `u` shares with products before it.
  void share_out(std::size_t u) {
    const PartOfUpdate whole{nodes_[u].step.step, static_cast<std::int32_t>(nodes_[u].in.size()),
                             static_cast<std::int32_t>(nodes_[u].out.size())};
    const Bytes all = bytes(nodes_[u].in[1]);
    std::vector<Bytes> taken;
    for (std::size_t m = 0; m < u; ++m) {
      if (!is_product(nodes_[m]) || !all.holds(bytes(nodes_[m].out[0]))) continue;
      const std::optional<std::size_t> last = last_before(m, u);
      if (!last) continue;
      const Bytes range = bytes(nodes_[m].out[0]);
      // Behind the last step that needs the parameter as it was.
      const auto at = nodes_.begin() + static_cast<std::ptrdiff_t>(m);
      std::rotate(at, at + 1, nodes_.begin() + static_cast<std::ptrdiff_t>(*last) + 1);
      PartOfUpdate part = whole;
      part.first = (range.begin - all.begin) / element;
      join(nodes_[*last], nodes_[u], part, range);
      taken.push_back({range.begin - all.begin, range.end - all.begin});
      if (*last > m) --m;  // another step has its place
    }
    if (!taken.empty()) leave_rest(u, whole, taken, all.end - all.begin);
  }

  /// The last step up to the update that has to run before the part of it that follows the product `m`: one that reads the
  /// parameter, or may halt updates. Nothing where somebody else needs the gradient.
  [[nodiscard]] std::optional<std::size_t> last_before(std::size_t m, std::size_t u) const {
    const Bytes range = bytes(nodes_[m].out[0]);
    const auto touches = [&](const BoundNode& b, Space space) {
      const auto lies = [&](ValueId v) { return lies_in(v, space, range); };
      return std::ranges::any_of(b.in, lies) || std::ranges::any_of(b.out, lies);
    };
    std::size_t last = m;
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      if (i == m || i == u) continue;
      const BoundNode& b = nodes_[i];
      if (touches(b, Space::gradients)) return std::nullopt;
      if (i < m || i > u) continue;
      const auto reads = [&](ValueId v) { return std::ranges::find(nodes_[m].out, v) != nodes_[m].out.end(); };
      if (std::ranges::any_of(b.in, reads)) return std::nullopt;
      const bool halts = b.step.control == ControlUse::marks || b.step.control == ControlUse::all;
      if (halts || touches(b, Space::parameters)) last = i;
    }
    return last;
  }

  void join(BoundNode& product, const BoundNode& update, const PartOfUpdate& part, const Bytes& range) const {
    ProductThenUpdate joined{product.step.step, static_cast<std::int32_t>(product.in.size()),
                             static_cast<std::int32_t>(product.out.size()), part};
    product.in.push_back(update.in[0]);
    product.in.insert(product.in.end(), update.in.begin() + 2, update.in.end());
    product.out.insert(product.out.end(), update.out.begin(), update.out.end());
    const std::size_t workspace = product.step.step.workspace;
    product.step.step = {run_product_then_update, std::make_shared<const ProductThenUpdate>(std::move(joined)),
                         workspace};
    product.step.op += " +update";
    product.step.control = both(product.step.control, update.step.control);
    // Of the update's operands the gradient is not read again.
    product.step.cost.bytes += share(update, range).bytes - static_cast<double>(range.end - range.begin);
    product.step.cost.flops += share(update, range).flops;
  }
  /// The update's cost for a part of its elements.
  [[nodiscard]] Cost share(const BoundNode& update, const Bytes& part) const {
    const double of = static_cast<double>(part.end - part.begin) / static_cast<double>(g_.spec(update.in[1]).bytes());
    return {update.step.cost.flops * of, update.step.cost.bytes * of};
  }

  void leave_rest(std::size_t u, const PartOfUpdate& whole, std::vector<Bytes> taken, std::int64_t all) {
    std::ranges::sort(taken, {}, &Bytes::begin);
    UpdateOfRest rest{whole};
    double left = 0;
    std::int64_t at = 0;
    taken.push_back({all, all});
    for (const Bytes& t : taken) {
      if (t.begin > at) rest.ranges.push_back({at / element, (t.begin - at) / element});
      left += static_cast<double>(std::max<std::int64_t>(t.begin - at, 0));
      at = t.end;
    }
    BoundNode& b = nodes_[u];
    b.step.cost.flops *= left / static_cast<double>(all);
    b.step.cost.bytes *= left / static_cast<double>(all);
    b.step.step = {run_update_of_rest, std::make_shared<const UpdateOfRest>(std::move(rest)), 0};
  }

  const Graph& g_;
  std::vector<BoundNode>& nodes_;
};

}  // namespace

void join_updates(const Graph& g, std::vector<BoundNode>& nodes) { Joiner(g, nodes).run(); }

}  // namespace tenon
