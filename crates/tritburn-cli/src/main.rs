//! The `tritburn` command.

fn main() {}
