#include "halfback/base/file.h"

#include "halfback/base/error.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace halfback {

namespace fs = std::filesystem;

using detail::beside;
using detail::fail_io;
using detail::rename_path;
using detail::resolve_target;

namespace {

std::string_view advice(int error) {
  switch (error) {
    case ENOSPC:
    case EDQUOT:
      return "make room there or write elsewhere";
    case EACCES:
    case EPERM:
    case EROFS:
      return "check the permissions or choose another place";
    case ENOENT:
    case ENOTDIR:
      return "check the path";
    case EISDIR:
      return "name a file";
    case EEXIST:
      return "choose another name";
    default:
      return "check the path and the disk";
  }
}

template <typename Call>
auto retried(Call call) {
  auto result = call();
  while (result < 0 && errno == EINTR) {
    result = call();
  }
  return result;
}

// Closes at the end of the scope. Only for reading, where an unchecked close loses nothing.
class InputDescriptor {
 public:
  InputDescriptor(const fs::path& path, int flags)
      : value_(retried([&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC | flags); })) {
    if (value_ < 0) {
      fail_io(path.string(), "open", errno);
    }
  }
  ~InputDescriptor() { ::close(value_); }
  InputDescriptor(const InputDescriptor&) = delete;
  InputDescriptor& operator=(const InputDescriptor&) = delete;
  int value() const { return value_; }

 private:
  int value_;
};

void sync_descriptor(int descriptor, const std::string& path) {
  // EINVAL and EROFS: pipes, devices and some network directories have nothing to sync.
  if (retried([&] { return ::fsync(descriptor); }) != 0 && errno != EINVAL && errno != EROFS) {
    fail_io(path, "bring to disk", errno);
  }
}

bool is_special(const fs::path& path) {
  std::error_code ignored;
  const fs::file_status status = fs::status(path, ignored);
  return fs::exists(status) && !fs::is_regular_file(status) && !fs::is_directory(status);
}

int open_flags(OpenMode mode) {
  switch (mode) {
    case OpenMode::Truncate:
      return O_TRUNC;
    case OpenMode::Append:
      return O_APPEND;
    default:
      return O_EXCL;
  }
}

}  // namespace

namespace detail {

void fail_io(const std::string& path, std::string_view verb, int error) {
  throw FileError(fmt::format("{}: cannot {}: {}; {}", path, verb,
                              std::system_category().message(error), advice(error)));
}

void sync_path(const fs::path& path) {
  const InputDescriptor input(path, 0);
  sync_descriptor(input.value(), path.string());
}

fs::path resolve_target(const fs::path& path) {
  std::error_code error;
  const fs::path absolute = fs::absolute(path, error);  // a bare name has no parent directory
  fs::path result = error ? absolute : fs::weakly_canonical(absolute, error);
  if (error) {
    fail_io(path.string(), "resolve", error.value());
  }
  return result.has_filename() ? result : result.parent_path();
}

fs::path beside(const fs::path& path, std::string_view word) {
  return fmt::format("{}.{}.{}", path.string(), word, ::getpid());
}

void rename_path(const fs::path& from, const fs::path& to) {
  if (std::rename(from.c_str(), to.c_str()) != 0) {
    fail_io(to.string(), "put in place", errno);
  }
  sync_path(to.has_parent_path() ? to.parent_path() : fs::path("."));
}

}  // namespace detail

bool is_file_name(std::string_view text) {
  return !text.empty() && text != "." && text != ".." &&
         text.find_first_of(std::string_view("/\\\0", 3)) == std::string_view::npos;
}

std::string read_file(const fs::path& path, std::uint64_t max_bytes) {
  constexpr std::size_t kBlockBytes = std::size_t{1} << 20;
  const InputDescriptor input(path, 0);
  std::string bytes;
  while (true) {
    const std::size_t old_size = bytes.size();
    bytes.resize(old_size + kBlockBytes);
    const ssize_t count =
        retried([&] { return ::read(input.value(), bytes.data() + old_size, kBlockBytes); });
    if (count < 0) {
      fail_io(path.string(), "read", errno);
    }
    bytes.resize(old_size + static_cast<std::size_t>(count));
    if (bytes.size() > max_bytes) {
      throw FileError(fmt::format("{}: over {} bytes long; at most {} are read; check the path",
                                  path.string(), max_bytes, max_bytes));
    }
    if (count == 0) {
      return bytes;
    }
  }
}

MappedFile::MappedFile(const fs::path& path) {
  // Without O_NONBLOCK, opening a pipe would wait for its writer.
  const InputDescriptor input(path, O_NONBLOCK);
  struct stat status {};
  if (::fstat(input.value(), &status) != 0) {
    fail_io(path.string(), "read", errno);
  }
  if (!S_ISREG(status.st_mode)) {
    throw FileError(fmt::format("{}: is {}; expected a regular file; name a file", path.string(),
                                S_ISDIR(status.st_mode) ? "a directory" : "a device or pipe"));
  }
  if (status.st_size == 0) {
    return;
  }
  const auto size = static_cast<std::size_t>(status.st_size);
  void* address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, input.value(), 0);
  if (address == MAP_FAILED) {
    fail_io(path.string(), "map", errno);
  }
  bytes_ = {static_cast<const char*>(address), size};
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) {
    ::munmap(const_cast<char*>(bytes_.data()), bytes_.size());
  }
}

MappedFile::MappedFile(MappedFile&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  return *this;
}

OutputFile::OutputFile(const fs::path& path, OpenMode mode, const fs::path& shown_as)
    : shown_as_(shown_as.empty() ? path.string() : shown_as.string()), descriptor_(retried([&] {
        return ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | open_flags(mode), 0666);
      })) {
  if (descriptor_ < 0) {
    fail_io(shown_as_, "open for writing", errno);
  }
}

OutputFile::~OutputFile() {
  if (descriptor_ >= 0) {
    ::close(descriptor_);
  }
}

void OutputFile::write(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = retried([&] { return ::write(descriptor_, bytes.data(), bytes.size()); });
    if (count < 0) {
      fail_io(shown_as_, "write", errno);
    }
    bytes.remove_prefix(static_cast<std::size_t>(count));
  }
}

void OutputFile::sync() { sync_descriptor(descriptor_, shown_as_); }

void OutputFile::close() {
  const int descriptor = std::exchange(descriptor_, -1);
  if (descriptor >= 0 && ::close(descriptor) != 0 && errno != EINTR) {
    fail_io(shown_as_, "close", errno);
  }
}

AtomicFile::AtomicFile(const fs::path& path)
    : target_(is_special(path) ? path : resolve_target(path)),
      written_(is_special(path) ? path : beside(target_, "tmp")),
      file_(written_, OpenMode::Truncate, path) {}

AtomicFile::~AtomicFile() {
  if (!is_committed_ && written_ != target_) {
    ::unlink(written_.c_str());
  }
}

void AtomicFile::commit() {
  file_.sync();
  file_.close();
  if (written_ != target_) {
    rename_path(written_, target_);
    is_committed_ = true;
  }
}

void write_file_atomically(const fs::path& path, std::string_view bytes) {
  AtomicFile file(path);
  file.write(bytes);
  file.commit();
}

}  // namespace halfback
