// What halfback_split_cost measures: layers, each with the same mathematics for autograd.
#pragma once

#include "bench/autograd_layers.h"

#include "halfback/layers/layer.h"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace halfback::bench {

struct Sizes {
  std::string name;
  std::int64_t samples = 0;
  std::int64_t sequence = 0;
  std::int64_t width = 0;
  std::int64_t heads = 0;
  std::int64_t hidden = 0;
  std::int64_t vocabulary = 0;
  std::int64_t image = 0;  // rows and columns
};

// Seconds of one round; `backward` is autograd's.
struct Seconds {
  double forward = 0.0;
  double input = 0.0;
  double weight = 0.0;
  double autograd_forward = 0.0;
  double backward = 0.0;
};

// A layer of either kind and its counterpart.
struct Subject {
  std::string name;
  std::map<std::string, std::int64_t> count_in_models = {};  // by the model's name
  std::shared_ptr<void> owner = {};
  std::vector<Parameter*> parameters = {};  // that train
  std::function<void(Saved&)> forward = {};
  std::function<at::Tensor(Saved&)> input = {};
  std::function<void(Saved&)> weight = {};
  std::function<at::Tensor(const Values&, const at::Tensor&)> reference = {};
  at::Tensor x = {};
  at::Tensor gradient = {};  // of the output
  Values leaves = {};        // the parameters, for autograd
  std::vector<Seconds> rounds = {};
};

// Returns the subjects with memory and values.
std::vector<Subject> make_subjects(const Sizes& sizes);

}  // namespace halfback::bench
