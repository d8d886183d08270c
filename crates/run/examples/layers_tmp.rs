use std::time::Instant;
use taper_run::Session;
fn main(){ 
 let t=taper_zoo::Task{input:[28,28,1],classes:10};
 let p=taper_zoo::Vgg{name:"p".into(),blocks:vec![vec![5,8],vec![10,12],vec![14,16,16],vec![12,9,7],vec![6,5,5]],normalisation:taper_zoo::Normalisation::None};
 let full=taper_zoo::vgg16(t,taper_zoo::Normalisation::None).unwrap();
 for g in [full,p.build(t).unwrap()] { let mut s=taper_run::Cpu::default().session(&g,1).unwrap();
  let mut best=vec![f64::MAX;g.tensors.len()];
  let cost=taper_graph::cost(&g);
  for _ in 0..300 { let mut last=Instant::now(); s.run_observed(&mut |id,_|{ let n=Instant::now(); best[id.0]=best[id.0].min((n-last).as_secs_f64()*1e6); last=Instant::now(); }); }
  for (i,n) in g.nodes.iter().enumerate(){ let t=best[n.outputs[0].0]; println!("{:16} {:9.2} us {:7.1} GFLOP/s {}",n.name,t,2e-3*cost.nodes[i].macs as f64/t,g.tensors[n.outputs[0].0].shape);} }
}
