//! Training steps allocate nothing once the buffers stand: not in the layers, not in the losses, not in the optimizer.
//!
//! On one thread, no block of memory is asked for after the first step of each number of images. On several, rayon
//! decides which thread works when: one that comes late still asks for buffers of its own, and rayon for room in its
//! queues. Their number has a bound, however many steps are taken.

use taper_adapt::train::{
    Cpu, Engine, Loss, NetworkSettings, OptimizerKind, OptimizerSettings, RegressionLoss,
    SoftmaxCrossEntropy, Targets,
};
use taper_graph::{Activation, Dropout, Graph, Op, PoolKind, TensorId};
use taper_testing::Random;
use taper_testing::branches::{self, Block};
use taper_testing::chain::{Chain, same};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// Steps that are watched: more than the buffers of all threads, so that one block in each would show.
const STEPS: usize = 100;

/// Threads where there are several.
const THREADS: usize = 3;

/// Blocks that the buffers of one thread may take.
const BLOCKS_OF_A_THREAD: u64 = 20;

/// Sizes of batches, in turns: several blocks of 16 images with a rest, and a part of one.
const BATCHES: [usize; 2] = [40, 7];

/// Allocations of the whole process are counted, so that there is one test in this file.
#[test]
fn steps_allocate_nothing() {
    for (threads, bound) in [(1, 0), (THREADS, THREADS as u64 * BLOCKS_OF_A_THREAD)] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads start");
        for subject in subjects() {
            let [first, later] = pool.install(|| blocks_of_steps(&subject));
            let name = subject.name;
            assert!(first > 0, "the buffers of {name} are not counted");
            assert!(later <= bound, "{name} on {threads} threads: {later} blocks in {STEPS} steps");
        }
    }
}

struct Subject {
    name: String,
    graph: Graph,
    settings: NetworkSettings,
    optimizer: OptimizerKind,
}

fn subjects() -> Vec<Subject> {
    let settings = NetworkSettings::default;
    let dropout = || Op::Dropout(Dropout { rate: 0.25 });
    // Wide enough for Winograd's convolution, and for all threads to share each layer.
    let wide = Chain::new(1, &[8, 8, 3])
        .conv_relu(64)
        .conv(64, [3, 3], same(3))
        .batch_norm()
        .activation(Activation::Relu)
        .conv_relu(64)
        .pool(PoolKind::Max, 2)
        .op("dropout", dropout())
        .flatten()
        .dense(3, None)
        .softmax()
        .finish();
    let narrow = Chain::new(2, &[8, 8, 2])
        .conv_relu(5)
        .conv(5, [3, 3], same(3))
        .pool(PoolKind::Average, 2)
        .op("dropout", dropout())
        .conv(5, [3, 3], same(3));
    let normalised = narrow.clone().batch_norm().flatten().dense(3, None).finish();
    let maps = narrow.clone().conv(3, [1, 1], same(1)).finish();
    let mut shared = maps.clone();
    let reader = |name: &str| shared.nodes.iter().position(|node| node.name == name).expect("it is there");
    let [first, second] = ["conv1", "conv4"].map(reader);
    shared.nodes[second].inputs[1] = shared.nodes[first].inputs[1];

    let subject = |name: &str, graph: &Graph, settings| {
        let (name, graph, optimizer) = (name.to_owned(), graph.clone(), OptimizerKind::Adam);
        Subject { name, graph, settings, optimizer }
    };
    let mut all = vec![
        subject("a wide network", &wide, settings()),
        subject(
            "a wide network in parts",
            &wide,
            NetworkSettings { memory_budget: Some(4 << 20), ..settings() },
        ),
        subject("a narrow network", &maps, settings()),
        Subject { optimizer: OptimizerKind::Sgd, ..subject("a narrow network by SGD", &maps, settings()) },
        subject("a narrow network with batch normalisation", &normalised, settings()),
        subject("a network that shares weights", &shared, settings()),
    ];
    for block in Block::ALL.into_iter().filter(|block| *block != Block::Fused(Activation::Tanh)) {
        all.push(subject(&format!("{block:?}"), &branches::random(1, &[block]), settings()));
    }
    let hard = SoftmaxCrossEntropy { ignored_label: Some(2), ..SoftmaxCrossEntropy::default() };
    for loss in [
        Loss::SoftmaxCrossEntropy(hard.clone()),
        Loss::SigmoidCrossEntropy { positive_weights: Some(vec![2.0; 3]) },
        Loss::Regression(RegressionLoss::SquaredError),
        Loss::Distillation { hard, temperature: 2.0, soft_weight: 0.5 },
    ] {
        all.push(subject(&format!("{loss:?}"), &maps, NetworkSettings { loss, ..settings() }));
    }
    all
}

/// The blocks of the first step of each number of images, and those of the steps after them, in any thread.
fn blocks_of_steps(Subject { graph, settings, optimizer, .. }: &Subject) -> [u64; 2] {
    let optimizer =
        OptimizerSettings { kind: *optimizer, momentum: 0.9, weight_decay: 1e-4, clip_norm: Some(0.1) };
    let mut learner = Cpu.learner(graph, settings, optimizer).expect("it can be trained");
    let elements = |tensor: TensorId| graph.tensor(tensor).shape.elements(1).expect("only the batch is open");
    let (image, output) = (elements(graph.inputs[0]), elements(graph.outputs[0]));
    let pixels = output / learner.network().classes();
    let images = Random::new(3).normals(BATCHES[0] * image, 1.0);
    let (labels, values) = (vec![0; BATCHES[0] * pixels], vec![0.5; BATCHES[0] * output]);
    let mut step = |batch: usize| {
        let (labels, values) = (&labels[..batch * pixels], &values[..batch * output]);
        let targets = match settings.loss {
            Loss::SoftmaxCrossEntropy(_) => Targets::Labels(labels),
            Loss::SigmoidCrossEntropy { .. } | Loss::Regression(_) => {
                Targets::Values { values, weights: None }
            }
            Loss::Distillation { .. } => Targets::Taught { labels, logits: values },
        };
        learner.step(&images[..batch * image], targets, 1e-3).expect("the batch fits");
    };
    let _profiler = dhat::Profiler::builder().testing().build();
    let blocks = || dhat::HeapStats::get().total_blocks;
    BATCHES.into_iter().for_each(&mut step);
    let first = blocks();
    BATCHES.into_iter().cycle().take(STEPS).for_each(step);
    [first, blocks() - first]
}
