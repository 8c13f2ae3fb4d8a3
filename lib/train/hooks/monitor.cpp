// One figure of every epoch, and whether it has become better.
#include <cmath>

#include "lib/train/hooks/format.hpp"
#include "tenon/error.hpp"
#include "tenon/hooks.hpp"

namespace tenon {

Monitor::Monitor(std::string name, double min_delta, Better better)
    : name_(std::move(name)),
      min_delta_(std::fabs(min_delta)),
      larger_(better == Better::larger || (better == Better::automatic && name_.find("acc") != std::string::npos)) {}

bool Monitor::improved(const EpochRecord& e) {
  std::vector<std::string> names;
  for (const NamedValue& f : detail::figures_of(e)) {
    if (f.name == name_) {
      // The first finite value always counts; comparisons with NaN are false.
      const bool better = std::isnan(best_) ? !std::isnan(f.value)
                          : larger_         ? f.value > best_ + min_delta_
                                            : f.value < best_ - min_delta_;
      if (better) best_ = f.value;
      return better;
    }
    names.push_back(f.name);
  }
  throw UsageError(fmt::format("[monitor] no figure '{}' among: {}", name_, fmt::join(names, ", ")));
}

}  // namespace tenon
