(** What the theorems rest on.  [build.sh] compiles this file last, prints its output and
    fails if an axiom outside its list appears. *)

From BSTheory Require Import FiniteSums Analysis OneStep Tree Adam.

Print Assumptions log_sum.
Print Assumptions one_step.
Print Assumptions E_tower.
Print Assumptions telescope.
Print Assumptions adam_token_half_life_expected.
Print Assumptions adam_token_half_life_any_start.
Print Assumptions adam_token_half_life.
