//! `tritburn classify`

use std::path::PathBuf;

use clap::Args;
use tritburn::device;

/// Say what images show, by a vision transformer.
///
/// Images are PNG or JPEG files of the size and pixels that the model was trained on; others are refused
/// unless --fit is given.
#[derive(Args, Debug)]
pub struct ClassifyArgs {
    /// Folder of the model, trained or packed.
    #[arg(long, short, value_name = "DIR")]
    pub model: PathBuf,

    /// Image files.
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<PathBuf>,

    /// Resize images of another size, and convert other pixels.
    #[arg(long)]
    pub fit: bool,

    /// Classes to name for each image, the likeliest first.
    #[arg(long, default_value_t = 3, value_name = "COUNT")]
    pub top: usize,

    /// Images that run at a time.
    #[arg(long, default_value_t = 32)]
    pub batch_size: usize,

    /// One JSON object a line for each image, with all classes.
    #[arg(long)]
    pub json: bool,

    /// Device to run on.
    #[arg(long, default_value = device::default_name())]
    pub device: String,
}
