//! Content: templates, rendering and link tokens.
//!
//! Everything here is pure: no IO, no clock, no chance. What costs (checking, inlining of CSS,
//! making the text part) is done once per template version by [`template::compile`]; what is done
//! per recipient is [`render::Renderer::render`].
//!
//! What always holds: a template reaches nothing but the values it is given; a merge field that is
//! missing never prints as nothing but ends the render with an error that names it; rendering ends
//! within a fixed amount of work and output, whatever the template says; a link target is one that
//! was checked when the template was compiled, or is checked when its expression is evaluated.

mod calls;
mod engine;
mod explain;
mod inline;
mod link;
mod markup;
mod merge;
mod mjml;
mod plain;
mod roots;
mod syntax;

pub mod problem;
pub mod render;
pub mod template;
pub mod token;

pub use explain::{FieldSource, FieldValue, explain};
pub use problem::{Part, TemplateProblem};
pub use render::{LinkUrls, RenderData, RenderError, Rendered, Renderer, render};
pub use roots::{BrandRoot, MessageRoot};
pub use template::{
    CompiledTemplate, FieldRule, FieldUse, Link, LinkTarget, TemplateSource, check_marketing,
    compile,
};
pub use token::{LinkKind, LinkToken};
