// trace: what a layer finds while a model is traced. The function runs once per (mode, batch); the first trace, always
// the training one, declares the parameters, and every later one must find the same.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "tenon/graph.hpp"
#include "tenon/nn.hpp"
#include "tenon/program.hpp"

namespace tenon {

namespace nn {
/// Shared by the copies of a layer.
struct LayerState {
  std::string name;    // given at the first trace
  std::string config;  // attributes at the first trace: later ones must be the same
  const Parameters* owner = nullptr;
};
}  // namespace nn

class TraceContext {
 public:
  TraceContext(Graph& graph, Parameters& parameters) : graph_(graph), parameters_(parameters) { graph.trace = this; }
  ~TraceContext() { graph_.trace = nullptr; }
  TraceContext(const TraceContext&) = delete;
  TraceContext& operator=(const TraceContext&) = delete;

  /// Names the layer at its first trace, checks it at later ones. Throws UsageError.
  const std::string& enter(nn::LayerState&, const char* type, const std::string& wanted, const std::string& config);
  /// The graph's value of a parameter.
  Tensor parameter(const std::string& name, const Shape&, Initializer, bool trainable);
  [[nodiscard]] Parameters& parameters() const { return parameters_; }
  /// Value of each parameter in this graph, no_value where it was not used.
  [[nodiscard]] const std::vector<ValueId>& values() const { return values_; }

 private:
  Graph& graph_;
  Parameters& parameters_;
  std::vector<ValueId> values_;
  std::map<std::string, int> calls_;
  std::map<std::string, const nn::LayerState*> owners_;
};

/// The context of a tensor's graph. Throws UsageError for a layer that is called outside a model.
[[nodiscard]] TraceContext& trace_of(Tensor, const char* who);

/// A traced model: the graph, and the values that hold its parameters.
struct Traced {
  Graph graph;
  std::vector<ValueId> parameters;
};
struct TraceRequest {
  const std::vector<InputSpec>* inputs = nullptr;
  const std::vector<InputSpec>* targets = nullptr;  // null: no loss
  const Loss* loss = nullptr;
  const std::vector<Metric>* metrics = nullptr;
  std::int64_t batch = 1;
  bool training = false;
  DType dtype = DType::f32;
};
[[nodiscard]] Traced trace(const Model&, const TraceRequest&);

/// First trace of a model, from Model::inputs(): declares its parameters and gives them their initial values for seed 0.
void declare_parameters(const Model&, DType);

}  // namespace tenon
