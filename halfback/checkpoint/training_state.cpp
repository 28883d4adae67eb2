#include "halfback/checkpoint/training_state.h"

#include "halfback/base/error.h"
#include "halfback/base/file.h"
#include "halfback/base/json.h"
#include "halfback/checkpoint/checkpoint_files.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace halfback {

namespace {

constexpr int kVersion = 2;  // 1 drew other random numbers from a seed

[[noreturn]] void refuse(const std::filesystem::path& path, const std::string& found) {
  throw FileError(fmt::format(
      "{}: {}; expected the training state that train writes; resume from another checkpoint",
      path.string(), found));
}

std::optional<LossScaleState> loss_scale_of(const nlohmann::json& json) {
  const auto found = json.find("loss_scale");
  if (found == json.end()) {
    return std::nullopt;
  }
  return LossScaleState{.value = found->at("value").get<double>(),
                        .good_steps = found->at("good_steps").get<std::int64_t>(),
                        .skipped_steps = found->at("skipped_steps").get<std::int64_t>()};
}

void check(const TrainingState& state, const std::filesystem::path& path) {
  if (state.step < 0 || state.position < 0 || state.gradient_groups < 1 ||
      state.samples_per_step < 1) {
    refuse(path,
           fmt::format("step {}, position {}, {} gradient groups, {} samples per step", state.step,
                       state.position, state.gradient_groups, state.samples_per_step));
  }
  if (const auto& scale = state.loss_scale;
      scale && !(scale->value > 0.0 && scale->good_steps >= 0 && scale->skipped_steps >= 0)) {
    refuse(path, fmt::format("loss scale {}, {} good steps, {} skipped", scale->value,
                             scale->good_steps, scale->skipped_steps));
  }
}

}  // namespace

std::string to_text(const TrainingState& state) {
  nlohmann::json json = {{"version", kVersion},
                         {"step", state.step},
                         {"position", state.position},
                         {"seed", state.seed},
                         {"optimizer", state.optimizer},
                         {"data_bytes", state.data_bytes},
                         {"data_crc32", state.data_crc32},
                         {"training_bytes", state.training_bytes},
                         {"tokenizer_crc32", state.tokenizer_crc32},
                         {"gradient_groups", state.gradient_groups},
                         {"samples_per_step", state.samples_per_step},
                         {"losses", state.losses},
                         {"pruning", state.pruning},
                         {"options", state.options}};
  if (state.loss_scale) {
    json["loss_scale"] = {{"value", state.loss_scale->value},
                          {"good_steps", state.loss_scale->good_steps},
                          {"skipped_steps", state.loss_scale->skipped_steps}};
  }
  return json.dump(2) + "\n";
}

TrainingState read_training_state(const std::filesystem::path& directory) {
  const std::filesystem::path path = directory / kTrainingStateFile;
  const nlohmann::json json = parse_json(read_file(path), path.string());
  TrainingState state;
  try {
    if (json.at("version").get<int>() != kVersion) {
      throw FileError(
          fmt::format("{}: version {}; expected {}; resume with the release that wrote it, or "
                      "start again from its parameters with --initial",
                      path.string(), json.at("version").dump(), kVersion));
    }
    state = {.step = json.at("step").get<std::int64_t>(),
             .position = json.at("position").get<std::int64_t>(),
             .seed = json.at("seed").get<std::uint64_t>(),
             .optimizer = json.at("optimizer").get<std::string>(),
             .data_bytes = json.at("data_bytes").get<std::int64_t>(),
             .data_crc32 = json.at("data_crc32").get<std::uint32_t>(),
             .training_bytes = json.at("training_bytes").get<std::int64_t>(),
             .tokenizer_crc32 = json.at("tokenizer_crc32").get<std::uint32_t>(),
             .loss_scale = loss_scale_of(json),
             .gradient_groups = json.at("gradient_groups").get<int>(),
             .samples_per_step = json.at("samples_per_step").get<std::int64_t>(),
             .losses = json.at("losses").get<std::string>(),
             .pruning = json.value("pruning", ""),
             .options = json.at("options").get<std::map<std::string, std::string>>()};
  } catch (const nlohmann::json::exception& error) {
    refuse(path, error.what());
  }
  check(state, path);
  return state;
}

}  // namespace halfback
