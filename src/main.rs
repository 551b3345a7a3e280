//! The program: nothing but the way from the command line to an exit code.
fn main() {}
