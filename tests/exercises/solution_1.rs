//! A solution of exercise 1.4.

#[derive(Default)]
pub struct Tape {
    pub data: Vec<f64>,
    pub operands: Vec<Vec<usize>>,
}

impl Tape {
    fn push(&mut self, x: f64, operands: &[usize]) -> usize {
        self.data.push(x);
        self.operands.push(operands.to_vec());
        self.data.len() - 1
    }

    pub fn leaf(&mut self, x: f64) -> usize {
        self.push(x, &[])
    }

    pub fn add(&mut self, a: usize, b: usize) -> usize {
        self.push(self.data[a] + self.data[b], &[a, b])
    }

    pub fn mul(&mut self, a: usize, b: usize) -> usize {
        self.push(self.data[a] * self.data[b], &[a, b])
    }

    pub fn tanh(&mut self, x: usize) -> usize {
        self.push(self.data[x].tanh(), &[x])
    }
}
