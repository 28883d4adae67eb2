// Files that are either whole or absent: every write is checked, and a result appears under its
// name only when it is complete and on disk.
//
// All functions throw FileError naming the path, what the system said and what to do.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace halfback {

inline constexpr std::uint64_t kMaxTextFileBytes = std::uint64_t{1} << 30;

// Returns the bytes of a file. Throws when it is longer than `max_bytes`.
std::string read_file(const std::filesystem::path& path,
                      std::uint64_t max_bytes = kMaxTextFileBytes);

// A whole regular file, mapped for reading. The address stays valid as long as the object lives,
// also when it is moved. If the file is truncated meanwhile, a read beyond its new end kills the
// process (SIGBUS).
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  std::string_view bytes() const { return bytes_; }

 private:
  std::string_view bytes_;
};

enum class OpenMode {
  Truncate,   // empty it, or create it
  Append,     // create it if needed; writes go to the end
  Exclusive,  // create it; throws if it exists
};

// An open file for writing, without a buffer of its own. Not thread-safe.
class OutputFile {
 public:
  // Messages show `shown_as` instead of `path` if it is given.
  OutputFile(const std::filesystem::path& path,
             OpenMode mode,
             const std::filesystem::path& shown_as = {});
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  // Writes all bytes, however large.
  void write(std::string_view bytes);
  // Blocks until what was written is on disk. Does nothing for devices and pipes.
  void sync();
  // Closes, and reports errors that the system only reports then. Later calls do nothing.
  void close();

 private:
  std::string shown_as_;
  int descriptor_ = -1;
};

// A file that commit() creates or replaces atomically. Until then the bytes are in PATH.tmp.PID;
// without commit() they are removed. Follows a symbolic link, and writes directly to a target that
// is not a regular file, such as /dev/stdout. One writer per path and process.
class AtomicFile {
 public:
  explicit AtomicFile(const std::filesystem::path& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::string_view bytes) { file_.write(bytes); }
  void commit();

 private:
  std::filesystem::path target_;
  std::filesystem::path written_;  // the target itself if it is not a regular file
  OutputFile file_;
  bool is_committed_ = false;
};

// Writes a whole file, or leaves the old one as it was.
void write_file_atomically(const std::filesystem::path& path, std::string_view bytes);

// Returns whether the text is a plain file name: one that does not lead out of a directory.
bool is_file_name(std::string_view text);

namespace detail {
// Throws FileError: "PATH: cannot VERB: <what the system says>; <what to do>".
[[noreturn]] void fail_io(const std::string& path, std::string_view verb, int error);

// Syncs a file's bytes, or a directory's names, to disk.
void sync_path(const std::filesystem::path& path);

// Returns the path with links followed and without a final slash.
std::filesystem::path resolve_target(const std::filesystem::path& path);

// Returns PATH.WORD.PID.
std::filesystem::path beside(const std::filesystem::path& path, std::string_view word);

// Renames, and syncs the new name to disk.
void rename_path(const std::filesystem::path& from, const std::filesystem::path& to);
}  // namespace detail

}  // namespace halfback
