#include "halfback/train/written_files.h"

#include "halfback/base/error.h"
#include "halfback/base/file.h"
#include "halfback/checkpoint/checkpoint_files.h"

#include <fmt/format.h>

#include <system_error>
#include <utility>

namespace halfback {

namespace fs = std::filesystem;

namespace {

bool begins_so(const fs::path& path, const FileSummary& expected) {
  const MappedFile file(path);
  FileSummary found;
  found.add(file.bytes().substr(0, static_cast<std::size_t>(expected.bytes)));
  return found == expected;
}

}  // namespace

WrittenFiles::WrittenFiles(fs::path directory) : directory_(std::move(directory)) {
  if (fs::exists(fs::symlink_status(directory_ / kReportFile))) {
    list_ = read_manifest(directory_, kReportFile);
  }
}

std::set<std::string> WrittenFiles::own() const {
  std::set<std::string> own;
  for (const auto& [name, summary] : list_.files) {
    const fs::path path = directory_ / name;
    if (fs::is_regular_file(fs::symlink_status(path)) &&
        (list_.step == 0 ? begins_so(path, summary) : is_unaltered(path, summary))) {
      own.insert(name);
    }
  }
  return own;
}

void WrittenFiles::require_own(const std::vector<std::string>& names) const {
  const std::set<std::string> known = own();
  for (const std::string& name : names) {
    const fs::path path = directory_ / name;
    if (known.count(name) == 0 && fs::exists(fs::symlink_status(path))) {
      throw FileError(
          fmt::format("{}: is not as a run has written it; a report would replace it; move it away "
                      "or choose another --report",
                      path.string()));
    }
  }
}

void WrittenFiles::remove(const std::string& name) {
  require_own({name});
  std::error_code error;
  if (fs::remove(directory_ / name, error); error) {
    detail::fail_io((directory_ / name).string(), "remove", error.value());
  }
  list_.files.erase(name);
}

void WrittenFiles::write(const std::string& name, std::string_view bytes) {
  remove(name);  // first, so that a run that dies here leaves no file that differs from the list
  FileSummary summary;
  summary.add(bytes);
  note({{name, summary}});
  write_file_atomically(directory_ / name, bytes);
}

void WrittenFiles::note(const FileSummaries& files) {
  for (const auto& [name, summary] : files) {
    list_.files[name] = summary;
  }
  list_.step = 0;
  save();
}

void WrittenFiles::finish(const FileSummaries& files, std::int64_t step) {
  note(files);
  list_.step = step;
  save();
}

void WrittenFiles::save() { write_file_atomically(directory_ / kReportFile, to_text(list_)); }

}  // namespace halfback
