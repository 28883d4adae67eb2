#include "halfback/measure/first_layer.h"

#include "halfback/base/base64.h"
#include "halfback/base/error.h"
#include "halfback/checkpoint/safetensors.h"
#include "halfback/checkpoint/safetensors_write.h"
#include "halfback/measure/similarity.h"
#include "halfback/train/training_data.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/linalg_svd.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <map>
#include <numeric>
#include <optional>
#include <set>
#include <utility>

namespace halfback {

namespace {

using Json = nlohmann::json;

constexpr const char* kWeights = "weights";
constexpr const char* kActivations = "activations";
constexpr const char* kSchemeAxis = "scheme";
constexpr const char* kSeedAxis = "seed";
constexpr const char* kBackprop = "backprop";

// The first images of the validation set as they are, whatever the losses compare.
at::Tensor validation_images(TrainingConfig config) {
  config.local_loss = LocalLoss::Pred;
  config.augmentation = Augmentation{};
  const std::unique_ptr<Dataset> data = open_data(config);
  return data->validation_batch(0, std::min(kFirstLayerSamples, data->num_validation_samples()))
      .inputs.front();
}

const Parameter& first_weights(const StageLayers& stage) {
  const std::vector<Parameter*> all = stage.parameters();
  const auto found =
      std::ranges::find_if(all, [](const Parameter* one) { return one->shape.size() >= 2; });
  HALFBACK_CHECK(found != all.end(), "images are read by weights");
  return **found;
}

at::Tensor after_first_block(const StageLayers& stage, const at::Tensor& images) {
  const Call call{.is_training = false};
  Tensors tensors = {images};
  for (std::size_t i = 0; i < stage.layers.size() && stage.places[i].block <= 0; ++i) {
    Saved dropped;
    tensors = stage.layers[i]->forward(std::move(tensors), dropped, call);
  }
  return tensors.front();
}

// Where a row stands, without an axis.
std::string place_without(const Json& row, const char* axis) {
  Json place = row.at("place");
  std::erase_if(place.get_ref<Json::array_t&>(),
                [axis](const Json& entry) { return entry.at(0) == axis; });
  return place.dump();
}

std::string scheme_of(const Json& row) {
  for (const Json& entry : row.at("place")) {
    if (entry.at(0) == kSchemeAxis) {
      return entry.at(1);
    }
  }
  return "";
}

struct FirstLayer {
  at::Tensor weights;  // [outputs, channels, height, width]
  at::Tensor activations;
};

// By run.
std::map<int, FirstLayer> load_all(const std::vector<Json>& rows,
                                   const std::filesystem::path& study) {
  std::map<int, FirstLayer> layers;
  for (const Json& row : rows) {
    const int run = row.at("run");
    const std::filesystem::path path = first_layer_path(study, run);
    if (row.at("status") != "infeasible" && std::filesystem::exists(path)) {
      const SafetensorsFile file(path);
      layers[run] = {file.get(kWeights), file.get(kActivations)};
    }
  }
  return layers;
}

// The first k directions of the inputs, as columns.
at::Tensor main_directions(const at::Tensor& weights, std::int64_t k) {
  return std::get<2>(at::linalg_svd(weights.flatten(1).to(at::kDouble), false)).narrow(0, 0, k).t();
}

void add_angles(const at::Tensor& weights, const at::Tensor& other, Json& row) {
  const std::int64_t num_inputs = weights[0].numel();
  const std::int64_t k = std::min({kMaxFirstLayerDirections, weights.size(0), other.size(0)});
  if (other[0].numel() != num_inputs || k >= num_inputs) {
    return;
  }
  const std::vector<double> angles =
      subspace_angles(main_directions(weights, k), main_directions(other, k));
  row["first_layer_angle"] =
      std::accumulate(angles.begin(), angles.end(), 0.0) / static_cast<double>(angles.size());
  row["first_layer_largest_angle"] = angles.front();
}

void compare(const FirstLayer& one, const FirstLayer& other, Json& row) {
  if (one.activations.size(0) == other.activations.size(0)) {
    row["first_layer_cka"] = linear_cka(one.activations, other.activations);
  }
  add_angles(one.weights, other.weights, row);
}

// The runs of backprop: that of each place without a scheme, and the next one behind each.
struct Partners {
  std::map<std::string, int> at_place;
  std::map<int, int> next_seed;

  // Rows are by run.
  Partners(const std::vector<Json>& rows, const std::map<int, FirstLayer>& layers) {
    std::map<std::string, int> last;
    for (const Json& row : rows) {
      const int run = row.at("run");
      if (scheme_of(row) == kBackprop && layers.contains(run)) {
        at_place[place_without(row, kSchemeAxis)] = run;
        const auto [before, is_first] = last.try_emplace(place_without(row, kSeedAxis), run);
        if (!is_first) {
          next_seed[std::exchange(before->second, run)] = run;
        }
      }
    }
  }

  // Returns the run with which a row is compared, if any.
  std::optional<int> partner_of(const Json& row) const {
    if (scheme_of(row) == kBackprop) {
      const auto found = next_seed.find(row.at("run"));
      return found == next_seed.end() ? std::nullopt : std::optional(found->second);
    }
    const auto found = at_place.find(place_without(row, kSchemeAxis));
    return found == at_place.end() ? std::nullopt : std::optional(found->second);
  }
};

Json filters_of(const at::Tensor& weights) {
  const at::Tensor rows = weights.flatten(1).to(at::kDouble);
  const at::Tensor largest =
      rows.norm(2, 1).argsort(-1, true).narrow(0, 0, std::min(kNumFilters, rows.size(0)));
  const at::Tensor chosen = rows.index_select(0, largest);
  const at::Tensor range = chosen.abs().amax(1, true).clamp_min(1e-300);
  const at::Tensor bytes = (chosen / range * 127.0 + 128.0).round().to(at::kByte).contiguous();
  return {{"width", weights.size(3)},
          {"height", weights.size(1) * weights.size(2)},
          {"data", to_base64({static_cast<const char*>(bytes.const_data_ptr()), bytes.nbytes()})}};
}

}  // namespace

void require_first_layer(const TrainingConfig& config) {
  if (task_of(config.model) != Task::Classes) {
    throw ConfigError(fmt::format(
        "[measure] first-layer is for models of images, and {} reads text; leave it out",
        model_name(config.model)));
  }
}

std::filesystem::path first_layer_path(const std::filesystem::path& study, int run) {
  return study / "first_layer" / fmt::format("{}.safetensors", run);
}

void save_first_layer(const TrainingConfig& config,
                      Pipeline& pipeline,
                      const std::filesystem::path& path) {
  const c10::InferenceMode no_graph;
  Stage& stage = pipeline.stage(0);
  stage.begin_inference();
  const at::Tensor images = validation_images(config);
  const at::Tensor& value = first_weights(stage.layers()).value;
  const at::Tensor weights =
      value.dim() == 4 ? value
                       : value.reshape({-1, images.size(1), images.size(2), images.size(3)});
  const at::Tensor activations =
      after_first_block(stage.layers(), images.to(value.device())).flatten(1);
  std::filesystem::create_directories(path.parent_path());
  save_safetensors(path,
                   {{kWeights, weights, at::kFloat}, {kActivations, activations, at::kFloat}});
}

std::vector<Json> with_first_layers(std::vector<Json> rows, const std::filesystem::path& study) {
  std::ranges::sort(rows, {}, [](const Json& row) { return row.at("run").get<int>(); });
  const std::map<int, FirstLayer> layers = load_all(rows, study);
  const Partners partners(rows, layers);
  std::set<std::string> schemes_with_filters;
  for (Json& row : rows) {
    const auto own = layers.find(row.at("run"));
    if (own == layers.end()) {
      continue;
    }
    if (const std::optional<int> partner = partners.partner_of(row)) {
      compare(own->second, layers.at(*partner), row);
    }
    if (schemes_with_filters.insert(scheme_of(row)).second) {
      row["filters"] = filters_of(own->second.weights);
    }
  }
  return rows;
}

}  // namespace halfback
