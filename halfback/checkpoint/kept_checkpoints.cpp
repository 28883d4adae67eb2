#include "halfback/checkpoint/kept_checkpoints.h"

#include "halfback/base/error.h"
#include "halfback/base/file.h"
#include "halfback/base/text.h"
#include "halfback/checkpoint/checkpoint_files.h"
#include "halfback/checkpoint/manifest.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <functional>
#include <system_error>

namespace halfback {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kStepSuffix = ".step-";

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

// Checks the files with these names, each peer its part.
void require_files(const fs::path& directory,
                   Peers& peers,
                   const std::function<bool(std::string_view)>& belongs) {
  const Manifest manifest = read_manifest(directory);
  int number = 0;
  for (const auto& [name, summary] : manifest.files) {
    if (belongs(name) && number++ % peers.count() == peers.index()) {
      require_unaltered(directory / name, summary);
    }
  }
}

}  // namespace

fs::path kept_path(const fs::path& directory, std::int64_t step) {
  return fmt::format("{}{}{}", detail::resolve_target(directory).string(), kStepSuffix, step);
}

std::vector<KeptCheckpoint> kept_names(const fs::path& directory) {
  const fs::path target = detail::resolve_target(directory);
  const std::string prefix = target.filename().string() + std::string(kStepSuffix);
  std::vector<KeptCheckpoint> all;
  std::error_code error;  // no such folder: nothing is kept there
  for (const fs::directory_entry& entry : fs::directory_iterator(target.parent_path(), error)) {
    const std::string name = entry.path().filename().string();
    const auto step = name.starts_with(prefix)
                          ? parse_integer(std::string_view(name).substr(prefix.size()))
                          : std::nullopt;
    if (step && entry.path() == kept_path(directory, *step)) {
      all.push_back({*step, entry.path()});
    }
  }
  std::sort(all.begin(), all.end(),
            [](const KeptCheckpoint& a, const KeptCheckpoint& b) { return a.step > b.step; });
  return all;
}

std::vector<KeptCheckpoint> kept_checkpoints(const fs::path& directory) {
  std::vector<KeptCheckpoint> all = kept_names(directory);
  std::erase_if(all, [](const KeptCheckpoint& one) { return !is_there(one.path / kManifestFile); });
  return all;
}

std::optional<std::int64_t> step_of(const fs::path& directory) {
  try {
    return read_manifest(directory).step;
  } catch (const FileError&) {
    return std::nullopt;
  }
}

void require_complete(const fs::path& directory, const PeersPointer& peers) {
  together(*peers, "the check of a checkpoint", [&] {
    require_files(directory, *peers, [](std::string_view) { return true; });
    return nlohmann::json();
  });
}

void require_complete_model(const fs::path& directory, const PeersPointer& peers) {
  together(*peers, "the check of a model", [&] {
    if (is_there(directory / kManifestFile) || is_there(directory / kTrainingStateFile)) {
      require_files(directory, *peers,
                    [](std::string_view name) { return !name.starts_with(kStateTensors); });
    }
    return nlohmann::json();
  });
}

ResumePoint find_resume_point(const fs::path& directory, const PeersPointer& peers) {
  const std::vector<nlohmann::json> seen = together(*peers, "the list of checkpoints", [&] {
    nlohmann::json steps = nlohmann::json::array();
    for (const KeptCheckpoint& kept : kept_checkpoints(directory)) {
      steps.push_back(kept.step);
    }
    return steps;
  });
  std::vector<fs::path> places = {directory};
  for (const nlohmann::json& step : seen.front()) {
    places.push_back(kept_path(directory, step.get<std::int64_t>()));
  }
  std::vector<std::string> refused;
  for (const fs::path& place : places) {
    try {
      require_complete(place, peers);
      return {place, refused.empty() ? ""
                                     : fmt::format("{}; the run resumes from {}",
                                                   fmt::join(refused, "; "), place.string())};
    } catch (const FileError& error) {
      refused.emplace_back(error.what());
    }
  }
  if (refused.size() == 1) {
    throw FileError(refused.front());
  }
  throw FileError(fmt::format("{}: none of {} checkpoints is complete: {}", directory.string(),
                              refused.size(), fmt::join(refused, "; ")));
}

}  // namespace halfback
