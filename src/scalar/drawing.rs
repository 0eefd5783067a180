//! Labels for values, and the [`Diagram`] of the calculation behind a value.

use std::collections::{HashMap, HashSet};

use super::diagram::{Diagram, DiagramNode};
use super::value::{Op, Value};

impl Value<'_> {
    /// Labels the value in diagrams. A later label replaces an earlier one.
    pub fn label(self, text: &str) -> Self {
        let text = self.graph.arena.bump().alloc_str(text);
        self.graph.labels.borrow_mut().push((self.place, text));
        self
    }

    /// The calculation behind this value, to be drawn: this value and all that it was computed from, in the order of their
    /// creation, and no other values of the graph. The gradients are those of the last [`Value::backward`], of any value.
    pub fn diagram(self) -> Diagram {
        let nodes = self.graph.nodes.borrow();
        let mut needed = HashSet::from([self.place]);
        let mut ops = HashMap::new();
        for &(place, op) in nodes.tape.iter().rev().filter(|(place, _)| *place <= self.place) {
            if needed.contains(&place) {
                op.operands(|operand| _ = needed.insert(operand));
                ops.insert(place, op);
            }
        }
        let mut places: Vec<u32> = needed.into_iter().collect();
        places.sort_unstable();
        let labels: HashMap<_, _> = self.graph.labels.borrow().iter().copied().collect(); // the last one counts
        let mut diagram = Diagram::default();
        for (result, place) in places.iter().enumerate() {
            let (value, op) = (Value { place: *place, ..self }, ops.get(place));
            if let Some(op) = op {
                let index = |operand| places.binary_search(&operand).expect("an operand was collected");
                op.operands(|operand| diagram.edges.push((index(operand), result)));
            }
            diagram.nodes.push(DiagramNode {
                label: labels.get(place).map(|label| (*label).to_owned()),
                op: op.map(Op::sign),
                data: value.data(),
                grad: value.grad(),
            });
        }
        diagram
    }
}

impl Op {
    /// Calls `visit` with the place of every operand, once for each use.
    fn operands(&self, mut visit: impl FnMut(u32)) {
        match *self {
            Op::Unary(_, x) => visit(x),
            Op::Binary(_, a, b) => [a, b].into_iter().for_each(visit),
            Op::Sum { x, len } => (x..x + len).for_each(visit),
            Op::Dot { a, b, len, stride } => (0..len).for_each(|k| {
                visit(a + k);
                visit(b + k * stride);
            }),
        }
    }

    /// The sign of the operation in a diagram.
    fn sign(&self) -> String {
        match self {
            Op::Unary(f, _) => f.sign(),
            Op::Binary(op, ..) => op.sign().to_owned(),
            Op::Sum { .. } => "sum".to_owned(),
            Op::Dot { .. } => "dot".to_owned(),
        }
    }
}
