// The tests of std::os::unix::net, as rust-src has them, outside of std: what they have from it is given to them here.
// Built with RUSTC_BOOTSTRAP=1, for some of what they test is not stable yet, and RUST_TESTS, the path of tests.rs.
#![feature(rustc_private, unix_socket_abstract, unix_socket_ancillary_data, unix_socket_peek)]
#![feature(peer_credentials_unix_socket)]
extern crate libc;

pub use std::{io, os, sync, thread, time};

mod sys_common {
    pub mod io {
        pub mod test {
            use std::path::{Path, PathBuf};
            use std::sync::atomic::{AtomicU32, Ordering};

            static COUNT: AtomicU32 = AtomicU32::new(0);

            pub struct TempDir(PathBuf);

            impl TempDir {
                pub fn path(&self) -> &Path {
                    &self.0
                }
            }

            impl Drop for TempDir {
                fn drop(&mut self) {
                    std::fs::remove_dir_all(&self.0).unwrap()
                }
            }

            pub fn tmpdir() -> TempDir {
                let path = std::env::temp_dir().join(format!("rust-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
                std::fs::create_dir(&path).unwrap();
                TempDir(path)
            }
        }
    }
}

mod net {
    pub use std::os::unix::net::*;

    mod tests {
        include!(env!("RUST_TESTS"));
    }
}
