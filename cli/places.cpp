#include "cli/places.h"

#include "halfback/base/error.h"
#include "halfback/base/file.h"

#include <fmt/format.h>

#include <filesystem>
#include <string_view>

namespace halfback::cli {

namespace fs = std::filesystem;

namespace {

// Returns whether the path is the checkpoint's directory or lies in it, or in a directory beside it
// named after it: kept checkpoints, or unfinished ones.
bool is_of_checkpoint(const fs::path& checkpoint, const fs::path& path) {
  const std::string name = checkpoint.filename().string();
  for (fs::path part = path; part.has_relative_path(); part = part.parent_path()) {
    const std::string other = part.filename().string();
    if (part.parent_path() == checkpoint.parent_path() &&
        (other == name || other.starts_with(name + ".step-") ||
         other.starts_with(name + ".tmp."))) {
      return true;
    }
  }
  return false;
}

bool is_of_report(const fs::path& report, const fs::path& path) {
  const std::string name = path.filename().string();
  return path.parent_path() == report &&
         (name == "metrics.jsonl" || name == "config.toml" || name == "trace.json" ||
          name == "report.html" || name == "report.json" || name.starts_with("events.out."));
}

bool is_log(const fs::path& logs, const fs::path& path) {
  return path.parent_path() == logs && path.filename().string().starts_with("process_");
}

struct Rule {
  const char* writer;
  std::string Places::*writer_path;
  bool (*writes)(const fs::path& place, const fs::path& path);
  const char* what;
};

// Everything else may be anywhere: a report in a data folder, checkpoints in a report.
constexpr Rule kRules[] = {
    {"--checkpoint", &Places::checkpoint, is_of_checkpoint, "which each checkpoint replaces"},
    {"--report", &Places::report, is_of_report, "whose file of that name a run writes"},
    {"--log-dir", &Places::log_directory, is_log, "whose file of that name a process writes"},
};

struct Named {
  const char* option;
  std::string Places::*path;
};

constexpr Named kNamed[] = {{"--checkpoint", &Places::checkpoint},
                            {"--report", &Places::report},
                            {"--log-dir", &Places::log_directory},
                            {"--data", &Places::data},
                            {"--initial", &Places::initial}};

}  // namespace

void require_apart(const Places& places) {
  for (const Rule& rule : kRules) {
    const std::string& writer = places.*rule.writer_path;
    for (const Named& other : kNamed) {
      const std::string& path = places.*other.path;
      if (writer.empty() || path.empty() || other.path == rule.writer_path ||
          !rule.writes(detail::resolve_target(writer), detail::resolve_target(path))) {
        continue;
      }
      throw ConfigError(
          fmt::format("{} {}: lies in {} {}, {}; choose another place for one of them",
                      other.option, path, rule.writer, writer, rule.what));
    }
  }
}

}  // namespace halfback::cli
