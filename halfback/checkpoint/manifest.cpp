#include "halfback/checkpoint/manifest.h"

#include "halfback/base/error.h"
#include "halfback/base/file.h"
#include "halfback/base/json.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <iterator>
#include <optional>
#include <string_view>
#include <sys/stat.h>
#include <system_error>
#include <utility>

namespace halfback {

namespace {

constexpr int kVersion = 1;
constexpr std::uint64_t kMaxManifestBytes = std::uint64_t{1} << 24;

[[noreturn]] void refuse(const std::filesystem::path& path, const std::string& found) {
  throw FileError(fmt::format(
      "{}: {}; expected the list of files that train writes; the file is torn or altered",
      path.string(), found));
}

bool is_in_folder(std::string_view name) {
  const std::size_t slash = name.find('/');
  return slash != std::string_view::npos && name.substr(0, slash) == kInheritedFolder;
}

FileSummaries files_of(const nlohmann::json& json, const std::filesystem::path& path) {
  FileSummaries files;
  for (const auto& [name, entry] : json.items()) {
    if (!is_file_name(is_in_folder(name) ? name.substr(name.find('/') + 1) : name)) {
      refuse(path, fmt::format("{} is not the name of a file in the same directory", quote(name)));
    }
    files[name] = {.bytes = entry.at("bytes").get<std::uint64_t>(),
                   .crc32 = entry.at("crc32").get<std::uint32_t>()};
  }
  return files;
}

struct Change {
  std::pair<std::int64_t, std::int64_t> time;  // which programs cannot set
  std::uint64_t bytes = 0;
};

// Returns when a regular file was last changed; nothing for anything else.
std::optional<Change> change_of(const std::filesystem::path& path) {
  struct stat found {};
  if (::lstat(path.c_str(), &found) != 0 || !S_ISREG(found.st_mode)) {
    return std::nullopt;
  }
  return Change{{found.st_ctim.tv_sec, found.st_ctim.tv_nsec},
                static_cast<std::uint64_t>(found.st_size)};
}

}  // namespace

std::string to_text(const Manifest& manifest) {
  nlohmann::json files = nlohmann::json::object();
  for (const auto& [name, summary] : manifest.files) {
    files[name] = {{"bytes", summary.bytes}, {"crc32", summary.crc32}};
  }
  nlohmann::json json = {
      {"version", kVersion}, {"step", manifest.step}, {"files", std::move(files)}};
  FileSummary summary;
  summary.add(json.dump());
  json["crc32"] = summary.crc32;
  return json.dump(2) + "\n";
}

Manifest read_manifest(const std::filesystem::path& directory, const char* name) {
  const std::filesystem::path path = directory / name;
  const std::string text = read_file(path, kMaxManifestBytes);
  const nlohmann::json json = parse_json(text, path.string());
  Manifest manifest;
  try {
    if (json.at("version").get<int>() != kVersion) {
      throw FileError(fmt::format("{}: version {}; expected {}; use the release that wrote it",
                                  path.string(), json.at("version").dump(), kVersion));
    }
    manifest = {.step = json.at("step").get<std::int64_t>(),
                .files = files_of(json.at("files"), path)};
  } catch (const nlohmann::json::exception& error) {
    refuse(path, detail::json_reason(error.what()));
  }
  // Each content has exactly one text, of which its checksum is part.
  if (text != to_text(manifest)) {
    refuse(path, "another text than its checksum says");
  }
  return manifest;
}

std::set<std::string> own_entries(const std::filesystem::path& directory) {
  std::set<std::string> own;
  try {
    const Manifest manifest = read_manifest(directory);
    own.insert(kManifestFile);
    const auto listed = change_of(directory / kManifestFile);
    std::ptrdiff_t num_in_folder = 0;
    for (const auto& [name, summary] : manifest.files) {
      const auto change = change_of(directory / name);
      if (change && change->bytes == summary.bytes &&
          (change->time <= listed->time || is_unaltered(directory / name, summary))) {
        if (is_in_folder(name)) {
          ++num_in_folder;
        } else {
          own.insert(name);
        }
      }
    }
    // A folder is one entry, either completely ours or not at all.
    using Entries = std::filesystem::directory_iterator;
    std::error_code ignored;
    if (num_in_folder > 0 &&
        std::distance(Entries(directory / kInheritedFolder, ignored), Entries()) == num_in_folder) {
      own.insert(kInheritedFolder);
    }
  } catch (const FileError&) {
    return {};
  }
  return own;
}

}  // namespace halfback
