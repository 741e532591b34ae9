//! Makes Rust of what processes say to one another; no `protoc` is needed.

use std::error::Error;

const ROOT: &str = "../wire/proto";
const PEER: &str = "../wire/proto/parcours/internal/v1/peer.proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={PEER}");
    let described = protox::compile([PEER], [ROOT])?;
    tonic_prost_build::configure().compile_fds(described)?;
    Ok(())
}
