//! The colours of the charts: baked in as the plotting library must, and found again by the page's style.
//!
//! The page maps each colour to a variable by the attribute that carries it, so that a chart follows the reader's
//! light or dark scheme; where styles are stripped, as by some mail readers, the baked ones remain.

use plotters::style::RGBColor;

/// A colour by its name in the page's style.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ink {
    pub(super) name: &'static str,
    pub(super) color: RGBColor,
}

impl Ink {
    pub(super) const ALL: [Self; 6] = [
        Self::DELETED,
        Self::ABSENT,
        Self::UNSETTLED,
        Self::PAUSE,
        Self::TEXT,
        Self::GRID,
    ];
    pub(super) const DELETED: Self = Self::new("deleted", 0x2F, 0x6D, 0xB5);
    pub(super) const ABSENT: Self = Self::new("absent", 0x9A, 0xA5, 0xB1);
    pub(super) const UNSETTLED: Self = Self::new("unsettled", 0xC0, 0x3A, 0x2B);
    pub(super) const PAUSE: Self = Self::new("pause", 0xD9, 0x8E, 0x04);
    pub(super) const TEXT: Self = Self::new("muted", 0x57, 0x60, 0x6A);
    pub(super) const GRID: Self = Self::new("grid", 0xE1, 0xE4, 0xE8);

    const fn new(name: &'static str, red: u8, green: u8, blue: u8) -> Self {
        let color = RGBColor(red, green, blue);
        Self { name, color }
    }

    /// As the SVG writer writes it.
    pub(super) fn hex(&self) -> String {
        let RGBColor(red, green, blue) = self.color;
        format!("#{red:02X}{green:02X}{blue:02X}")
    }
}
