#include "lib/passes/passes.hpp"
namespace tenon { void group(Graph&, const RowSet&) {} }
