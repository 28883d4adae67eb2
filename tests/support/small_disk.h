// A disk that is soon full.
//
// Mounting needs root, or a kernel that lets users be root of a namespace of their own. A process
// may enter one while it has a single thread only: hence before main().
#pragma once

#include "tests/support/temporary_directory.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <sched.h>
#include <stdexcept>
#include <string>
#include <sys/mount.h>
#include <unistd.h>

namespace halfback {

// Whether this process has entered a namespace in which it may mount; root needs none.
inline const bool kHasMountNamespace = [] {
  const std::string user = std::to_string(::getuid());
  const std::string group = std::to_string(::getgid());
  if (user == "0" || ::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) {
    return false;
  }
  spit("/proc/self/setgroups", "deny");  // what the kernel asks for before the map of groups
  spit("/proc/self/uid_map", user + " " + user + " 1");
  spit("/proc/self/gid_map", group + " " + group + " 1");
  return true;
}();

class SmallDisk {
 public:
  // Throws std::runtime_error when the disk cannot be mounted.
  explicit SmallDisk(int kibibytes = 64) {
    const std::string size = "size=" + std::to_string(kibibytes) + "k";
    if (::mount("tmpfs", directory_.path().c_str(), "tmpfs", 0, size.c_str()) != 0) {
      throw std::runtime_error(std::string("cannot mount a small disk: ") + std::strerror(errno) +
                               "; the test needs root or user namespaces");
    }
  }
  ~SmallDisk() { ::umount2(directory_.path().c_str(), MNT_DETACH); }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;

  const std::filesystem::path& path() const { return directory_.path(); }

 private:
  TemporaryDirectory directory_;
};

}  // namespace halfback
