// Folders: answers where there is one, and an Error with the path where there is none.
#include "runtime/io/folder.h"

#include "tests/expect_error.h"
#include "tests/scratch_folder.h"

namespace tessera::io {
namespace {

namespace fs = std::filesystem;

TEST(Folder, AnswersForWhatIsThereAndWhatIsNot) {
  const testing::ScratchFolder folder;
  const std::string file = folder.write("file", "x");
  fs::create_symlink("nowhere", folder.file("dangling"));
  fs::create_symlink(".", folder.file("here"));
  EXPECT_TRUE(exists(file));
  EXPECT_FALSE(is_folder(file));
  EXPECT_TRUE(is_folder(folder.path()));
  EXPECT_TRUE(is_folder(folder.file("here")));
  for (const char* absent : {"none", "dangling", "file/below", "none/below"}) {
    EXPECT_FALSE(exists(folder.file(absent))) << absent;
    EXPECT_FALSE(is_folder(folder.file(absent))) << absent;
  }
  EXPECT_EQ(names_in(folder.path()), (std::vector<std::string>{"dangling", "file", "here"}));
}

TEST(Folder, EveryFailureNamesThePath) {
  const testing::ScratchFolder folder;
  const std::string file = folder.write("file", "x");
  const std::string loop = folder.file("loop");
  fs::create_symlink("loop", loop);
  const std::string long_name = folder.file(std::string(300, 'n'));
  for (const std::string& bad : {loop, long_name}) {
    testing::expect_error([&] { exists(bad); }, bad);
    testing::expect_error([&] { is_folder(bad); }, bad);
    testing::expect_error([&] { names_in(bad); }, bad);
    testing::expect_error([&] { make_folders(bad); }, bad);
  }
  testing::expect_error([&] { names_in(file); }, file);
  testing::expect_error([&] { names_in(folder.file("none")); }, folder.file("none"));
  testing::expect_error([&] { make_folders(file); }, file);
  testing::expect_error([&] { make_folders(file + "/below"); }, file + "/below");
  testing::expect_error([&] { remove_all(long_name); }, long_name);
}

TEST(Folder, RemovesLinksAndNotWhatTheyLeadTo) {
  const testing::ScratchFolder folder;
  make_folders(folder.file("a/b"));
  folder.write("a/b/file", "x");
  fs::create_directory_symlink("a", folder.file("link"));
  remove_all(folder.file("link"));
  EXPECT_TRUE(exists(folder.file("a/b/file")));
  remove_all(folder.file("a"));
  remove_all(folder.file("a"));
  EXPECT_EQ(names_in(folder.path()), std::vector<std::string>{});
}

}  // namespace
}  // namespace tessera::io
