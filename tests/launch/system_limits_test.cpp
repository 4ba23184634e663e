// Limits of containers and of the process, read from folders laid out as the kernel lays them out.
// That the program asks the real ones is seen from a process that has one.
#include "launch/machine/system_limits.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "tests/scratch_folder.h"

namespace tessera::launch {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

class SystemLimits : public ::testing::Test {
 protected:
  SystemLimits() {
    put("proc/meminfo", "MemTotal:       16777216 kB\nMemAvailable:    8388608 kB\n");
    put("proc/self/status", "Name:\tx\nVmSize:\t  102400 kB\nVmData:\t   51200 kB\n");
    put("proc/self/limits",
        "Limit                     Soft Limit           Hard Limit           Units     \n"
        "Max data size             unlimited            unlimited            bytes     \n"
        "Max address space         unlimited            unlimited            bytes     \n");
  }
  void put(const std::string& name, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(root_.file(name)).parent_path());
    root_.write(name, text);
  }
  /// Version 2, with a process of the group `path`.
  void unified(const std::string& path) {
    put("proc/self/cgroup", "0::" + path + "\n");
    put("proc/self/mountinfo",
        "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n");
  }
  /// A group's limit and use, of which `cache` bytes are pages of files.
  void group(const std::string& path, const std::string& limit, int64_t used, int64_t cache) {
    const std::string folder = "sys/fs/cgroup" + path + "/";
    put(folder + "memory.max", limit + "\n");
    put(folder + "memory.current", std::to_string(used) + "\n");
    put(folder + "memory.stat", "anon 1\ninactive_file " + std::to_string(cache / 4) +
                                    "\nactive_file " + std::to_string(cache - cache / 4) + "\n");
  }
  /// Version 1, one tree for each controller.
  void first(const std::string& path, const std::string& mount_root) {
    put("proc/self/cgroup", "4:memory:" + path + "\n2:cpu,cpuacct:" + path + "\n");
    put("proc/self/mountinfo",
        "32 31 0:29 " + mount_root +
            " /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n" + "35 31 0:32 " +
            mount_root + " /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
  }
  void first_group(const std::string& path, const std::string& limit, int64_t used) {
    const std::string folder = "sys/fs/cgroup/memory" + path + "/";
    put(folder + "memory.limit_in_bytes", limit + "\n");
    put(folder + "memory.usage_in_bytes", std::to_string(used) + "\n");
    put(folder + "memory.stat", "inactive_file 999999999999\ntotal_inactive_file 1048576\n");
  }
  FreeMemory node() { return node_memory(root_.path()); }

  testing::ScratchFolder root_;
};

TEST_F(SystemLimits, WithoutGroupsAllThatTheMachineHasFree) {
  EXPECT_EQ(node().bytes, 8192 * kMiB);
  EXPECT_EQ(node().limit, "");
  EXPECT_FALSE(process_memory(root_.path()));
  EXPECT_FALSE(processor_quota(root_.path()));
}

TEST_F(SystemLimits, AGroupLeavesItsLimitLessWhatItHolds) {
  unified("/job/step");
  group("/job/step", std::to_string(3000 * kMiB), 1000 * kMiB, 400 * kMiB);
  EXPECT_EQ(node().bytes, 2400 * kMiB);  // pages of files can be dropped
  EXPECT_EQ(node().limit, "/sys/fs/cgroup/job/step/memory.max");
  EXPECT_EQ(node().limit_bytes, 3000 * kMiB);
}

TEST_F(SystemLimits, TheLeastOnThePathCounts) {
  unified("/job/step");
  group("/job/step", "max", 100 * kMiB, 0);
  group("/job", std::to_string(2000 * kMiB), 1900 * kMiB, 0);
  group("", std::to_string(4000 * kMiB), 2000 * kMiB, 0);
  EXPECT_EQ(node().bytes, 100 * kMiB);
  EXPECT_EQ(node().limit, "/sys/fs/cgroup/job/memory.max");
  put("sys/fs/cgroup/job/step/memory.high", std::to_string(150 * kMiB) + "\n");
  EXPECT_EQ(node().bytes, 50 * kMiB);  // beyond it the kernel stalls the process
  EXPECT_EQ(node().limit, "/sys/fs/cgroup/job/step/memory.high");
  group("/job", std::to_string(100 * kMiB), 1900 * kMiB, 0);
  EXPECT_EQ(node().bytes, 0);  // more than the limit is held
}

TEST_F(SystemLimits, ALimitAboveTheMachineIsNone) {
  unified("/");
  group("", std::to_string(int64_t{1} << 50), 0, 0);
  EXPECT_EQ(node().bytes, 8192 * kMiB);
  EXPECT_EQ(node().limit, "");
}

TEST_F(SystemLimits, VersionOneHasAHugeNumberForNone) {
  first("/job", "/");
  first_group("/job", std::to_string(600 * kMiB), 101 * kMiB);
  first_group("", "9223372036854771712", 5000 * kMiB);
  EXPECT_EQ(node().bytes, 500 * kMiB);
  EXPECT_EQ(node().limit, "/sys/fs/cgroup/memory/job/memory.limit_in_bytes");
  first_group("/job", "18446744073709551615", 101 * kMiB);
  EXPECT_EQ(node().bytes, 8192 * kMiB);
}

TEST_F(SystemLimits, AContainerMaySeeOnlyItsOwnGroup) {
  first("/docker/abc", "/docker/abc");  // the host's path, but the mounted tree starts there
  first_group("", std::to_string(300 * kMiB), 0);
  EXPECT_EQ(node().bytes, 300 * kMiB);
  first("/elsewhere", "/docker/abc");  // outside of what can be seen
  EXPECT_EQ(node().bytes, 300 * kMiB);
  first("/docker/abc/inner", "/docker/abc");
  first_group("/inner", std::to_string(200 * kMiB), 0);
  EXPECT_EQ(node().bytes, 200 * kMiB);
}

TEST_F(SystemLimits, AProcessHasLimitsOfItsOwn) {
  put("proc/self/limits",
      "Limit                     Soft Limit           Hard Limit           Units     \n"
      "Max data size             524288000            unlimited            bytes     \n"
      "Max address space         209715200            unlimited            bytes     \n");
  const auto process = process_memory(root_.path());
  ASSERT_TRUE(process);
  EXPECT_EQ(process->bytes, 100 * kMiB);  // 200 MiB, of which 100 are used
  EXPECT_EQ(process->limit, "ulimit -v");
  EXPECT_EQ(node().bytes, 8192 * kMiB);
}

TEST_F(SystemLimits, ProcessorsHaveAQuota) {
  unified("/job/step");
  put("sys/fs/cgroup/job/step/cpu.max", "max 100000\n");
  EXPECT_FALSE(processor_quota(root_.path()));
  put("sys/fs/cgroup/job/cpu.max", "150000 100000\n");
  EXPECT_EQ(processor_quota(root_.path()), 1.5);
  first("/job", "/");
  put("sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us", "400000\n");
  put("sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us", "200000\n");
  put("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
  put("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(processor_quota(root_.path()), 2.0);
}

TEST_F(SystemLimits, RanksShareTheQuota) {
  EXPECT_EQ(threads_within({}, 64, 1), 64);
  EXPECT_EQ(threads_within({}, 0, 1), 1);
  EXPECT_EQ(threads_within(2.5, 64, 1), 3);
  EXPECT_EQ(threads_within(8.0, 64, 4), 2);
  EXPECT_EQ(threads_within(0.5, 64, 4), 1);
  EXPECT_EQ(threads_within(100.0, 8, 2), 8);
}

TEST_F(SystemLimits, BrokenFilesLimitNothing) {
  unified("/job");
  put("sys/fs/cgroup/job/memory.max", "\n");
  put("sys/fs/cgroup/job/cpu.max", "\n");
  put("sys/fs/cgroup/memory.max", "lots\n");
  put("proc/self/cgroup", "nonsense\n\n::\n0::/job\n");
  EXPECT_EQ(node().bytes, 8192 * kMiB);
  EXPECT_FALSE(processor_quota(root_.path()));
}

}  // namespace
}  // namespace tessera::launch
