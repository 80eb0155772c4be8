(** What the theorems rest on.  [build.sh] compiles this file last, prints its output and
    fails if an axiom outside its list appears. *)

From BSTheory Require Import FiniteSums Analysis OneStep Tree Adam Smooth Refined BiasCorrected.
From BSTheory Require Import Sharp Momentum MomentumWeights NormTest NormTestBound Example Derivation.

Print Assumptions adam_token_half_life.

(** Every other theorem at once, and the steps of the derivation. *)
Definition theorems :=
  (adam_token_half_life_expected,
   adam_token_half_life_any_start,
   adam_token_half_life_lipschitz,
   adam_token_half_life_first_batch,
   adam_token_half_life_variance_aware,
   adam_token_half_life_ramp_up,
   adam_token_half_life_bias_corrected,
   adam_token_half_life_theta,
   adam_token_half_life_sharp,
   adam_token_half_life_momentum,
   adam_token_half_life_momentum_schedule,
   momentum_bound_without_momentum,
   average_weights_recursion,
   average_weights_sum,
   token_weights_recursion,
   token_weights_sum,
   E_tower,
   cosine_bound,
   cosine_run_bounded,
   cosine_momentum_bound,
   adam_norm_test,
   norm_test_tree_passes,
   two_cycle,
   derivation).
Print Assumptions theorems.
