//! The figure of the chapter about low-rank adapters.

use gradus::model::{Decoder, DecoderConfig, LoraConfig, LoraTarget, Model};
use gradus::params::ParamSpec;
use support::svg::{Point, Svg};

use crate::thousands;

/// How many numbers of a side are a pixel.
const SCALE: f64 = 10.0;

/// A layer of the Llama with its adapter, drawn to scale.
pub fn adapter() -> anyhow::Result<String> {
    let lora = LoraConfig { targets: vec![LoraTarget::UpProj], ..LoraConfig::default() };
    let model =
        Decoder::new(DecoderConfig { n_layer: 1, ..DecoderConfig::llama(2) })?.with_adapters(&lora)?;
    let find = |end: &str| {
        let name = format!("model.layers.0.mlp.up_proj.{end}");
        model.layout().specs().iter().find(|spec| spec.name == name).expect("the layer has it")
    };
    let [w, a, b] = ["weight", "lora_A.weight", "lora_B.weight"].map(find);
    let shape = |spec: &ParamSpec| format!("[{}, {}]", spec.rows, spec.cols);
    let numbers = |specs: &[&ParamSpec]| thousands(specs.iter().map(|spec| spec.rows * spec.cols).sum());
    let mut svg = Svg::new(
        720.0,
        400.0,
        "A frozen layer and its adapter",
        &format!(
            "On the left the input x, of {inputs} numbers a token, from which two ways lead to the right. Above, it is multiplied \
             by the frozen weight W, a tall box of {} with {} numbers. Below, some of it is dropped, and the rest is multiplied by \
             A, a line of {}, then by B, a line of {}, with {} numbers together, and by alpha / r. Both are added to \
             the output y, of {outputs} numbers.",
            shape(w),
            numbers(&[w]),
            shape(a),
            shape(b),
            numbers(&[a, b]),
            inputs = w.cols,
            outputs = w.rows,
        ),
    );
    let side = |spec: &ParamSpec| (spec.cols as f64 / SCALE, spec.rows as f64 / SCALE);
    let (above, below) = (110.0, 310.0);
    // A matrix with its middle at this height. Returns where it begins and ends.
    let matrix = |svg: &mut Svg, class: &str, spec: &ParamSpec, (x, middle): Point, name: &str| {
        let (width, height) = side(spec);
        let top = middle - height / 2.0;
        svg.rect(class, (x, top), (width, height), 0.0);
        svg.text((x, top - 10.0), "head", name);
        svg.text((x + 18.0, top - 10.0), "faint small", &shape(spec));
        [x, x + width]
    };
    svg.text((36.0, 206.0), "head middle", "x");
    svg.text((36.0, 222.0), "faint small middle", &format!("[n, {}]", w.cols));
    let [w_left, w_right] = matrix(&mut svg, "plain", w, (330.0, above), "W");
    svg.text((w_right + 12.0, above + 24.0), "small", &format!("{} numbers, frozen", numbers(&[w])));
    let [a_left, a_right] = matrix(&mut svg, "yellow", a, (260.0, below), "A");
    let [b_left, b_right] = matrix(&mut svg, "yellow", b, (400.0, below), "B");
    svg.text(
        (b_right + 12.0, below + 44.0),
        "small",
        &format!("{} numbers in A and B, trained", numbers(&[a, b])),
    );
    svg.labelled("blue", (110.0, below - 20.0), (100.0, 40.0), &["dropout", "in training"]);
    svg.labelled("blue", (460.0, below - 20.0), (90.0, 40.0), &["· alpha / r"]);
    let sum = (630.0, 202.0);
    svg.arrow(&[(52.0, 192.0), (80.0, above), (w_left - 3.0, above)]);
    svg.arrow(&[(62.0, 216.0), (80.0, below), (107.0, below)]);
    svg.arrow(&[(210.0, below), (a_left - 3.0, below)]);
    svg.arrow(&[(a_right, below), (b_left - 3.0, below)]);
    svg.arrow(&[(b_right, below), (457.0, below)]);
    svg.arrow(&[(w_right, above), (sum.0, above), (sum.0, sum.1 - 12.0)]);
    svg.arrow(&[(550.0, below), (sum.0, below), (sum.0, sum.1 + 12.0)]);
    svg.text((sum.0, sum.1 + 5.0), "head middle", "+");
    svg.arrow(&[(sum.0 + 12.0, sum.1), (672.0, sum.1)]);
    svg.text((690.0, 206.0), "head middle", "y");
    svg.text((690.0, 222.0), "faint small middle", &format!("[n, {}]", w.rows));
    Ok(svg.finish())
}
