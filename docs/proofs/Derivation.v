(** Every algebraic, logarithmic and one-step probabilistic step of the derivation
    [adam_token_half_life], written by tests/proofs/coqcertificate.py.  A lemma's premises are the signs of
    its symbols and the earlier steps it names. *)

From Coq Require Import Reals Lra.
From BSTheory Require Import FiniteSums OneStep Steps.
Local Open Scope R_scope.

Lemma step_absolute_absG_above : forall (G absG : R),
  absG = Rabs (G) ->
  0 <= absG - G.
Proof.
  intros. subst absG. assert (T := Rle_abs (G)). lra.
Qed.

Lemma step_absolute_absG_below : forall (G absG : R),
  absG = Rabs (G) ->
  0 <= G + absG.
Proof.
  intros. subst absG. assert (T := Rle_abs (- (G))). rewrite Rabs_Ropp in T. lra.
Qed.

Lemma step_absolute_absG_square : forall (G absG : R),
  absG = Rabs (G) ->
  absG ^ 2 - G ^ 2 = 0.
Proof.
  intros. subst absG. rewrite pow2_abs. ring.
Qed.

Lemma step_absolute_absg_above : forall (absg g : R),
  absg = Rabs (g) ->
  0 <= absg - g.
Proof.
  intros. subst absg. assert (T := Rle_abs (g)). lra.
Qed.

Lemma step_absolute_absg_below : forall (absg g : R),
  absg = Rabs (g) ->
  0 <= absg + g.
Proof.
  intros. subst absg. assert (T := Rle_abs (- (g))). rewrite Rabs_Ropp in T. lra.
Qed.

Lemma step_absolute_absg_square : forall (absg g : R),
  absg = Rabs (g) ->
  absg ^ 2 - g ^ 2 = 0.
Proof.
  intros. subst absg. rewrite pow2_abs. ring.
Qed.

Lemma step_definition_of_P : forall (P eps v_next : R),
  0 < eps ->
  0 <= v_next ->
  P = sqrt (eps + v_next) ->
  P ^ 2 - eps - v_next = 0.
Proof.
  intros. subst P. rewrite <- Rsqr_pow2, Rsqr_sqrt by (nonnegative || (left; positive)). ring.
Qed.

Lemma step_definition_of_Q : forall (Q Rg beta c eps v_prev : R),
  0 < Rg ->
  0 < beta ->
  0 < c ->
  0 < eps ->
  0 <= v_prev ->
  Q = sqrt (eps + c * Rg ^ 2 + beta * v_prev) ->
  Q ^ 2 - eps - c * Rg ^ 2 - beta * v_prev = 0.
Proof.
  intros. subst Q. rewrite <- Rsqr_pow2, Rsqr_sqrt by (nonnegative || (left; positive)). ring.
Qed.

Lemma step_definition_of_s : forall (c s : R),
  0 < c ->
  s = sqrt (c) ->
  s ^ 2 - c = 0.
Proof.
  intros. subst s. rewrite <- Rsqr_pow2, Rsqr_sqrt by (nonnegative || (left; positive)). ring.
Qed.

Lemma step_bounded_square : forall (Rg absg g : R),
  0 < Rg ->
  0 <= absg ->
  0 <= Rg - absg ->
  absg ^ 2 - g ^ 2 = 0 ->
  0 <= Rg ^ 2 - g ^ 2.
Proof.
  intros. replace (Rg ^ 2 - g ^ 2)
    with ((Rg + absg) * ((Rg - absg)) + ((1) * ((absg ^ 2 - g ^ 2)))) by identity.
  terms.
Qed.

Lemma step_bounded_mean : forall (P beta c eps g v_next v_prev : R),
  0 < P ->
  0 < beta ->
  0 < c ->
  0 < eps ->
  0 <= v_next ->
  0 <= v_prev ->
  v_next - beta * v_prev - c * g ^ 2 = 0 ->
  P ^ 2 - eps - v_next = 0 ->
  0 <= P ^ 2 - c * g ^ 2.
Proof.
  intros. replace (P ^ 2 - c * g ^ 2)
    with ((1) * ((v_next - beta * v_prev - c * g ^ 2)) + ((1) * ((P ^ 2 - eps - v_next)) + (eps + beta * v_prev))) by identity.
  terms.
Qed.

Lemma step_bounded_noise : forall (Q Rg beta c eps s v_prev : R),
  0 < Q ->
  0 < Rg ->
  0 < beta ->
  0 < c ->
  0 < eps ->
  0 < s ->
  0 <= v_prev ->
  Q ^ 2 - eps - c * Rg ^ 2 - beta * v_prev = 0 ->
  s ^ 2 - c = 0 ->
  0 <= Q - Rg * s.
Proof.
  intros. replace (Q - Rg * s)
    with ((1 / (Q + Rg * s)) * ((Q ^ 2 - eps - c * Rg ^ 2 - beta * v_prev)) + ((- (Rg ^ 2 / (Q + Rg * s))) * ((s ^ 2 - c)) + ((eps + beta * v_prev) / (Q + Rg * s)))) by identity.
  terms.
Qed.

Lemma step_inverse_root_difference : forall (P Q Rg beta c eps g v_next v_prev : R),
  0 < P ->
  0 < Q ->
  0 < Rg ->
  0 < beta ->
  0 < c ->
  0 < eps ->
  0 <= v_next ->
  0 <= v_prev ->
  P ^ 2 - eps - v_next = 0 ->
  Q ^ 2 - eps - c * Rg ^ 2 - beta * v_prev = 0 ->
  v_next - beta * v_prev - c * g ^ 2 = 0 ->
  1 / P - 1 / Q - c * (Rg ^ 2 - g ^ 2) / (P * Q * (P + Q)) = 0.
Proof.
  intros. replace (1 / P - 1 / Q - c * (Rg ^ 2 - g ^ 2) / (P * Q * (P + Q)))
    with ((- (1 / (P * Q * (P + Q)))) * ((P ^ 2 - eps - v_next)) + ((1 / (P * Q * (P + Q))) * ((Q ^ 2 - eps - c * Rg ^ 2 - beta * v_prev)) + ((- (1 / (P * Q * (P + Q)))) * ((v_next - beta * v_prev - c * g ^ 2))))) by identity.
  vanish.
Qed.

Lemma step_worst_sign : forall (G P Q Rg absG absg c g : R),
  0 < P ->
  0 < Q ->
  0 < Rg ->
  0 <= absG ->
  0 <= absg ->
  0 < c ->
  0 <= G + absG ->
  0 <= absg + g ->
  0 <= absG - G ->
  0 <= absg - g ->
  0 <= G * c * g * (Rg ^ 2 - g ^ 2) / (P * Q * (P + Q)) + absG * absg * c * (Rg ^ 2 + g ^ 2) / (P * Q * (P + Q)).
Proof.
  intros. replace (G * c * g * (Rg ^ 2 - g ^ 2) / (P * Q * (P + Q)) + absG * absg * c * (Rg ^ 2 + g ^ 2) / (P * Q * (P + Q)))
    with ((c * Rg ^ 2 / (2 * P * Q * (P + Q))) * ((G + absG) * (absg + g)) + ((c * Rg ^ 2 / (2 * P * Q * (P + Q))) * ((absG - G) * (absg - g)) + ((c * g ^ 2 / (2 * P * Q * (P + Q))) * ((G + absG) * (absg - g)) + ((c * g ^ 2 / (2 * P * Q * (P + Q))) * ((absG - G) * (absg + g)))))) by identity.
  terms.
Qed.

Lemma step_young_past : forall (G P Q Rg absG absg c g s : R),
  0 < P ->
  0 < Q ->
  0 < Rg ->
  0 <= absG ->
  0 <= absg ->
  0 < c ->
  0 < s ->
  0 <= Q - Rg * s ->
  absG ^ 2 - G ^ 2 = 0 ->
  absg ^ 2 - g ^ 2 = 0 ->
  s ^ 2 - c = 0 ->
  0 <= G ^ 2 / (4 * Q) + Rg * s * g ^ 2 / P ^ 2 - absG * absg * c * Rg ^ 2 / (P * Q * (P + Q)).
Proof.
  intros. replace (G ^ 2 / (4 * Q) + Rg * s * g ^ 2 / P ^ 2 - absG * absg * c * Rg ^ 2 / (P * Q * (P + Q)))
    with ((Rg * s * g ^ 2 * (Q ^ 2 + Rg ^ 2 * s ^ 2 + Q * Rg * s) / (P ^ 2 * Q ^ 3)) * ((Q - Rg * s)) + ((- (1 / (4 * Q))) * ((absG ^ 2 - G ^ 2)) + ((- (Rg ^ 4 * s ^ 4 / (P ^ 2 * Q ^ 3))) * ((absg ^ 2 - g ^ 2)) + (((4 * P * absG * absg * Q ^ 2 * Rg ^ 2 + 4 * Q * absG * absg * P ^ 2 * Rg ^ 2) / (4 * P ^ 2 * Q ^ 3 * (P + Q))) * ((s ^ 2 - c)) + ((1 / (4 * Q)) * ((absG - 2 * absg * Rg ^ 2 * s ^ 2 / (P * Q)) ^ 2) + (absG * absg * c * Rg ^ 2 / (Q ^ 2 * (P + Q)))))))) by identity.
  terms.
Qed.

Lemma step_young_present : forall (G P Q Rg absG absg c g s : R),
  0 < P ->
  0 < Q ->
  0 < Rg ->
  0 <= absG ->
  0 <= absg ->
  0 < c ->
  0 < s ->
  0 <= Rg ^ 2 - g ^ 2 ->
  0 <= P ^ 2 - c * g ^ 2 ->
  0 <= Q - Rg * s ->
  absG ^ 2 - G ^ 2 = 0 ->
  absg ^ 2 - g ^ 2 = 0 ->
  s ^ 2 - c = 0 ->
  0 <= G ^ 2 / (4 * Q) + Rg * s * g ^ 2 / P ^ 2 - absG * absg * c * g ^ 2 / (P * Q * (P + Q)).
Proof.
  intros. replace (G ^ 2 / (4 * Q) + Rg * s * g ^ 2 / P ^ 2 - absG * absg * c * g ^ 2 / (P * Q * (P + Q)))
    with ((G ^ 2 / (4 * Q * Rg ^ 2)) * ((Rg ^ 2 - g ^ 2)) + ((c * Rg ^ 2 * g ^ 2 / (P ^ 4 * Q)) * ((P ^ 2 - c * g ^ 2)) + ((Rg * s * g ^ 2 / (P ^ 2 * Q)) * ((Q - Rg * s)) + ((- (absg ^ 2 / (4 * Q * Rg ^ 2))) * ((absG ^ 2 - G ^ 2)) + ((- (G ^ 2 / (4 * Q * Rg ^ 2))) * ((absg ^ 2 - g ^ 2)) + (((4 * P ^ 3 * Rg ^ 4 * g ^ 2 + 4 * Q * P ^ 2 * Rg ^ 4 * g ^ 2) / (4 * P ^ 4 * Q * Rg ^ 2 * (P + Q))) * ((s ^ 2 - c)) + ((1 / (4 * Q)) * ((absG * absg / Rg - 2 * Rg * c * g ^ 2 / P ^ 2) ^ 2) + (absG * absg * c * g ^ 2 / (P ^ 2 * (P + Q)))))))))) by identity.
  terms.
Qed.

Lemma step_pathwise : forall (G P Q Rg absG absg c g s : R),
  0 < P ->
  0 < Q ->
  0 < Rg ->
  0 <= absG ->
  0 <= absg ->
  0 < c ->
  0 < s ->
  0 <= G * c * g * (Rg ^ 2 - g ^ 2) / (P * Q * (P + Q)) + absG * absg * c * (Rg ^ 2 + g ^ 2) / (P * Q * (P + Q)) ->
  0 <= G ^ 2 / (4 * Q) + Rg * s * g ^ 2 / P ^ 2 - absG * absg * c * Rg ^ 2 / (P * Q * (P + Q)) ->
  1 / P - 1 / Q - c * (Rg ^ 2 - g ^ 2) / (P * Q * (P + Q)) = 0 ->
  0 <= G ^ 2 / (4 * Q) + Rg * s * g ^ 2 / P ^ 2 - absG * absg * c * g ^ 2 / (P * Q * (P + Q)) ->
  0 <= G ^ 2 / (2 * Q) + G * g / P + 2 * Rg * s * g ^ 2 / P ^ 2 - G * g / Q.
Proof.
  intros. replace (G ^ 2 / (2 * Q) + G * g / P + 2 * Rg * s * g ^ 2 / P ^ 2 - G * g / Q)
    with ((1) * ((G * c * g * (Rg ^ 2 - g ^ 2) / (P * Q * (P + Q)) + absG * absg * c * (Rg ^ 2 + g ^ 2) / (P * Q * (P + Q)))) + ((1) * ((G ^ 2 / (4 * Q) + Rg * s * g ^ 2 / P ^ 2 - absG * absg * c * Rg ^ 2 / (P * Q * (P + Q)))) + ((G * g) * ((1 / P - 1 / Q - c * (Rg ^ 2 - g ^ 2) / (P * Q * (P + Q)))) + ((1) * ((G ^ 2 / (4 * Q) + Rg * s * g ^ 2 / P ^ 2 - absG * absg * c * g ^ 2 / (P * Q * (P + Q)))))))) by identity.
  terms.
Qed.

Lemma step_conditional : forall (count : nat) (prob : nat -> R) (G Q Rg s : R) (P g : nat -> R),
  distribution count prob ->
  0 < Q ->
  0 < Rg ->
  0 < s ->
  (forall j, (j < count)%nat -> 0 < (P j)) ->
  (forall j, (j < count)%nat -> 0 <= G ^ 2 / (2 * Q) + G * (g j) / (P j) + 2 * Rg * s * (g j) ^ 2 / (P j) ^ 2 - G * (g j) / Q) ->
  0 <= G * (mean count prob (fun j => (g j) / (P j))) + G ^ 2 / (2 * Q) + 2 * Rg * (mean count prob (fun j => (g j) ^ 2 / (P j) ^ 2)) * s - G * (mean count prob g) / Q.
Proof.
  intros. replace (G * (mean count prob (fun j => (g j) / (P j))) + G ^ 2 / (2 * Q) + 2 * Rg * (mean count prob (fun j => (g j) ^ 2 / (P j) ^ 2)) * s - G * (mean count prob g) / Q)
    with (mean count prob (fun j => (G) * ((g j) / (P j)) + ((- (G / Q)) * ((g j)) + ((2 * Rg * s) * ((g j) ^ 2 / (P j) ^ 2) + ((G ^ 2 / (2 * Q)) * (1)))))) by (rewrite ?mean_plus, ?mean_scal, ?mean_const by assumption; identity).
  apply mean_nonneg; [assumption|]. intros j Hj; repeat match goal with H : forall j, (j < _)%nat -> _ |- _ => specialize (H j Hj) end.
  match goal with H : 0 <= ?e |- 0 <= ?t => replace t with e by identity; exact H end.
Qed.

Lemma step_one_step : forall (G Q Rg mean_g mean_g2P2 mean_gP s : R),
  0 < Q ->
  0 < Rg ->
  0 <= mean_g2P2 ->
  0 < s ->
  0 <= G * mean_gP + G ^ 2 / (2 * Q) + 2 * Rg * mean_g2P2 * s - G * mean_g / Q ->
  mean_g - G = 0 ->
  0 <= G * mean_gP + 2 * Rg * mean_g2P2 * s - G ^ 2 / (2 * Q).
Proof.
  intros. replace (G * mean_gP + 2 * Rg * mean_g2P2 * s - G ^ 2 / (2 * Q))
    with ((1) * ((G * mean_gP + G ^ 2 / (2 * Q) + 2 * Rg * mean_g2P2 * s - G * mean_g / Q)) + ((G / Q) * ((mean_g - G)))) by identity.
  terms.
Qed.

Lemma step_range_advanced : forall (Rg beta c g v_next v_prev : R),
  0 < Rg ->
  0 < beta ->
  0 < c ->
  0 <= v_next ->
  0 <= v_prev ->
  0 <= Rg ^ 2 - v_prev ->
  0 <= Rg ^ 2 - g ^ 2 ->
  beta + c - 1 = 0 ->
  v_next - beta * v_prev - c * g ^ 2 = 0 ->
  0 <= Rg ^ 2 - v_next.
Proof.
  intros. replace (Rg ^ 2 - v_next)
    with ((beta) * ((Rg ^ 2 - v_prev)) + ((c) * ((Rg ^ 2 - g ^ 2)) + ((- Rg ^ 2) * ((beta + c - 1)) + ((-1) * ((v_next - beta * v_prev - c * g ^ 2)))))) by identity.
  terms.
Qed.

Lemma step_range_start : forall (Rg : R),
  0 < Rg ->
  0 <= Rg ^ 2.
Proof.
  intros. replace (Rg ^ 2)
    with (Rg ^ 2) by identity.
  terms.
Qed.

Lemma step_definition_of_Z : forall (Rg Z eps : R),
  0 < Rg ->
  0 < eps ->
  Z = sqrt (Rg ^ 2 + eps) ->
  Z ^ 2 - Rg ^ 2 - eps = 0.
Proof.
  intros. subst Z. rewrite <- Rsqr_pow2, Rsqr_sqrt by (nonnegative || (left; positive)). ring.
Qed.

Lemma step_denominator : forall (Q Rg Z beta c eps v_prev : R),
  0 < Q ->
  0 < Rg ->
  0 < Z ->
  0 < beta ->
  0 < c ->
  0 < eps ->
  0 <= v_prev ->
  Z ^ 2 - Rg ^ 2 - eps = 0 ->
  Q ^ 2 - eps - c * Rg ^ 2 - beta * v_prev = 0 ->
  0 <= Rg ^ 2 - v_prev ->
  beta + c - 1 = 0 ->
  0 <= Z - Q.
Proof.
  intros. replace (Z - Q)
    with ((1 / (Q + Z)) * ((Z ^ 2 - Rg ^ 2 - eps)) + ((- (1 / (Q + Z))) * ((Q ^ 2 - eps - c * Rg ^ 2 - beta * v_prev)) + ((beta / (Q + Z)) * ((Rg ^ 2 - v_prev)) + ((- (Rg ^ 2 / (Q + Z))) * ((beta + c - 1)))))) by identity.
  terms.
Qed.

Lemma step_descent : forall (F_next F_prev L alpha c inner norm s : R),
  0 < L ->
  0 < alpha ->
  0 < c ->
  0 <= norm ->
  0 < s ->
  0 <= F_prev + L * norm * alpha ^ 2 * s ^ 2 / 2 - F_next - alpha * inner * s ->
  s ^ 2 - c = 0 ->
  0 <= F_prev + L * c * norm * alpha ^ 2 / 2 - F_next - alpha * inner * s.
Proof.
  intros. replace (F_prev + L * c * norm * alpha ^ 2 / 2 - F_next - alpha * inner * s)
    with ((1) * ((F_prev + L * norm * alpha ^ 2 * s ^ 2 / 2 - F_next - alpha * inner * s)) + ((- (L * norm * alpha ^ 2 / 2)) * ((s ^ 2 - c)))) by identity.
  terms.
Qed.

Lemma step_log_step : forall (beta eps log_ratio v_next v_prev : R),
  0 < beta ->
  0 < eps ->
  0 <= v_next ->
  0 <= v_prev ->
  log_ratio = ln ((eps + beta * v_prev) / (eps + v_next)) ->
  0 <= (eps + beta * v_prev) / (eps + v_next) - 1 - log_ratio.
Proof.
  intros. subst log_ratio. assert (T : 0 < ((eps + beta * v_prev) / (eps + v_next))) by positive.
  apply ln_tangent in T. lra.
Qed.

Lemma step_ratio_split : forall (beta eps log_mid log_next log_ratio v_next v_prev : R),
  0 < beta ->
  0 < eps ->
  0 <= v_next ->
  0 <= v_prev ->
  log_ratio = ln ((eps + beta * v_prev) / (eps + v_next)) ->
  log_mid = ln (eps + beta * v_prev) ->
  log_next = ln (eps + v_next) ->
  log_next + log_ratio - log_mid = 0.
Proof.
  intros. subst log_ratio log_mid log_next. replace ((eps + beta * v_prev) / (eps + v_next)) with ((eps + beta * v_prev) / (eps + v_next)) by identity.
  assert (T := ln_quotient (eps + beta * v_prev) (eps + v_next) ltac:(positive) ltac:(positive)). lra.
Qed.

Lemma step_decay_room : forall (beta c eps v_prev : R),
  0 < beta ->
  0 < c ->
  0 < eps ->
  0 <= v_prev ->
  beta + c - 1 = 0 ->
  0 <= eps + beta * v_prev - beta * (eps + v_prev).
Proof.
  intros. replace (eps + beta * v_prev - beta * (eps + v_prev))
    with ((- eps) * ((beta + c - 1)) + (c * eps)) by identity.
  terms.
Qed.

Lemma step_decay : forall (beta eps log_low log_mid v_prev : R),
  0 < beta ->
  0 < eps ->
  0 <= v_prev ->
  log_mid = ln (eps + beta * v_prev) ->
  log_low = ln (beta * (eps + v_prev)) ->
  0 <= eps + beta * v_prev - beta * (eps + v_prev) ->
  0 <= log_mid - log_low.
Proof.
  intros. subst log_mid log_low. assert (T := ln_monotone (eps + beta * v_prev) (beta * (eps + v_prev)) ltac:(positive) ltac:(lra)). lra.
Qed.

Lemma step_decay_split : forall (beta eps log_beta log_low log_prev v_prev : R),
  0 < beta ->
  0 < eps ->
  0 <= v_prev ->
  log_low = ln (beta * (eps + v_prev)) ->
  log_beta = ln (beta) ->
  log_prev = ln (eps + v_prev) ->
  log_low - log_beta - log_prev = 0.
Proof.
  intros. subst log_low log_beta log_prev. replace (beta * (eps + v_prev)) with ((beta) * (eps + v_prev)) by identity.
  assert (T := ln_product (beta) (eps + v_prev) ltac:(positive) ltac:(positive)). lra.
Qed.

Lemma step_tokens_residual : forall (B beta h ln2 log_beta : R),
  0 < B ->
  0 < h ->
  log_beta = ln (beta) ->
  beta = Rpower 2 (- (B / h)) ->
  ln2 = ln (2) ->
  log_beta + B * ln2 / h = 0.
Proof.
  intros. subst log_beta beta ln2. assert (T := ln_power_of_two (- (B / h))).
  match goal with |- ?g = 0 => replace g with (ln (Rpower 2 (- (B / h))) - (- (B / h)) * ln 2)
    by identity end.
  exact T.
Qed.

Lemma step_log_sum : forall (B P beta c eps g h ln2 log_beta log_low log_mid log_next log_prev log_ratio v_next v_prev : R),
  0 < B ->
  0 < P ->
  0 < beta ->
  0 < c ->
  0 < eps ->
  0 < h ->
  0 < ln2 ->
  0 <= v_next ->
  0 <= v_prev ->
  0 <= (eps + beta * v_prev) / (eps + v_next) - 1 - log_ratio ->
  log_next + log_ratio - log_mid = 0 ->
  0 <= log_mid - log_low ->
  log_low - log_beta - log_prev = 0 ->
  log_beta + B * ln2 / h = 0 ->
  v_next - beta * v_prev - c * g ^ 2 = 0 ->
  P ^ 2 - eps - v_next = 0 ->
  0 <= log_next + B * ln2 / h - log_prev - c * g ^ 2 / P ^ 2.
Proof.
  intros. replace (log_next + B * ln2 / h - log_prev - c * g ^ 2 / P ^ 2)
    with ((1) * (((eps + beta * v_prev) / (eps + v_next) - 1 - log_ratio)) + ((1) * ((log_next + log_ratio - log_mid)) + ((1) * ((log_mid - log_low)) + ((1) * ((log_low - log_beta - log_prev)) + ((1) * ((log_beta + B * ln2 / h)) + ((1 / (eps + v_next)) * ((v_next - beta * v_prev - c * g ^ 2)) + ((c * g ^ 2 / (P ^ 2 * (eps + v_next))) * ((P ^ 2 - eps - v_next))))))))) by identity.
  terms.
Qed.

Lemma step_one_step_sum : forall (count : nat) (Rg s : R) (G Q mean_g2P2 mean_gP : nat -> R),
  0 < Rg ->
  0 < s ->
  (forall j, (j < count)%nat -> 0 < (Q j)) ->
  (forall j, (j < count)%nat -> 0 <= (mean_g2P2 j)) ->
  (forall j, (j < count)%nat -> 0 <= (G j) * (mean_gP j) + 2 * Rg * (mean_g2P2 j) * s - (G j) ^ 2 / (2 * (Q j))) ->
  0 <= (sum count (fun j => (G j) * (mean_gP j))) + 2 * Rg * (sum count mean_g2P2) * s - (sum count (fun j => (G j) ^ 2 / (Q j))) / 2.
Proof.
  intros. replace ((sum count (fun j => (G j) * (mean_gP j))) + 2 * Rg * (sum count mean_g2P2) * s - (sum count (fun j => (G j) ^ 2 / (Q j))) / 2)
    with (sum count (fun j => (1) * ((G j) * (mean_gP j)) + ((- (1 / 2)) * ((G j) ^ 2 / (Q j)) + ((2 * Rg * s) * ((mean_g2P2 j)))))) by (rewrite ?sum_plus, ?sum_scal, ?sum_const; identity).
  apply sum_nonneg. intros j Hj; repeat match goal with H : forall j, (j < _)%nat -> _ |- _ => specialize (H j Hj) end.
  match goal with H : 0 <= ?e |- 0 <= ?t => replace t with e by identity; exact H end.
Qed.

Lemma step_one_step_weighted : forall (Rg c gain inner_mean norm_mean s : R),
  0 < Rg ->
  0 < c ->
  0 <= gain ->
  0 <= norm_mean ->
  0 < s ->
  0 <= inner_mean + 2 * Rg * norm_mean * s - gain / 2 ->
  s ^ 2 - c = 0 ->
  0 <= inner_mean * s + 2 * Rg * c * norm_mean - gain * s / 2.
Proof.
  intros. replace (inner_mean * s + 2 * Rg * c * norm_mean - gain * s / 2)
    with ((s) * ((inner_mean + 2 * Rg * norm_mean * s - gain / 2)) + ((- (2 * Rg * norm_mean)) * ((s ^ 2 - c)))) by identity.
  terms.
Qed.

Lemma step_smaller_denominator_coordinate : forall (G Q Z : R),
  0 < Q ->
  0 < Z ->
  0 <= Z - Q ->
  0 <= G ^ 2 / Q - G ^ 2 / Z.
Proof.
  intros. replace (G ^ 2 / Q - G ^ 2 / Z)
    with ((G ^ 2 / (Q * Z)) * ((Z - Q))) by identity.
  terms.
Qed.

Lemma step_smaller_denominator : forall (count : nat) (Z : R) (G Q : nat -> R),
  0 < Z ->
  (forall j, (j < count)%nat -> 0 < (Q j)) ->
  (forall j, (j < count)%nat -> 0 <= (G j) ^ 2 / (Q j) - (G j) ^ 2 / Z) ->
  0 <= (sum count (fun j => (G j) ^ 2 / (Q j))) - (sum count (fun j => (G j) ^ 2)) / Z.
Proof.
  intros. replace ((sum count (fun j => (G j) ^ 2 / (Q j))) - (sum count (fun j => (G j) ^ 2)) / Z)
    with (sum count (fun j => (1) * ((G j) ^ 2 / (Q j)) + ((- (1 / Z)) * ((G j) ^ 2)))) by (rewrite ?sum_plus, ?sum_scal, ?sum_const; identity).
  apply sum_nonneg. intros j Hj; repeat match goal with H : forall j, (j < _)%nat -> _ |- _ => specialize (H j Hj) end.
  match goal with H : 0 <= ?e |- 0 <= ?t => replace t with e by identity; exact H end.
Qed.

Lemma step_smaller_denominator_weighted : forall (Z gain s square : R),
  0 < Z ->
  0 <= gain ->
  0 < s ->
  0 <= square ->
  0 <= gain - square / Z ->
  0 <= gain * s - s * square / Z.
Proof.
  intros. replace (gain * s - s * square / Z)
    with ((s) * (gain - square / Z)) by identity. term.
Qed.

Lemma step_log_sum_coordinates : forall (count : nat) (B c h ln2 : R) (P g log_next log_prev : nat -> R),
  0 < B ->
  0 < c ->
  0 < h ->
  0 < ln2 ->
  (forall j, (j < count)%nat -> 0 < (P j)) ->
  (forall j, (j < count)%nat -> 0 <= (log_next j) + B * ln2 / h - (log_prev j) - c * (g j) ^ 2 / (P j) ^ 2) ->
  0 <= (sum count log_next) + B * (sum count (fun j => 1)) * ln2 / h - (sum count log_prev) - c * (sum count (fun j => (g j) ^ 2 / (P j) ^ 2)).
Proof.
  intros. replace ((sum count log_next) + B * (sum count (fun j => 1)) * ln2 / h - (sum count log_prev) - c * (sum count (fun j => (g j) ^ 2 / (P j) ^ 2)))
    with (sum count (fun j => (1) * ((log_next j)) + ((-1) * ((log_prev j)) + ((B * ln2 / h) * (1) + ((- c) * ((g j) ^ 2 / (P j) ^ 2)))))) by (rewrite ?sum_plus, ?sum_scal, ?sum_const; identity).
  apply sum_nonneg. intros j Hj; repeat match goal with H : forall j, (j < _)%nat -> _ |- _ => specialize (H j Hj) end.
  match goal with H : 0 <= ?e |- 0 <= ?t => replace t with e by identity; exact H end.
Qed.

Lemma step_range_next : forall (Rg beta c g v_next v_prev : R),
  0 < Rg ->
  0 < beta ->
  0 < c ->
  0 <= v_next ->
  0 <= v_prev ->
  0 <= Rg ^ 2 - v_prev ->
  0 <= Rg ^ 2 - g ^ 2 ->
  beta + c - 1 = 0 ->
  v_next - beta * v_prev - c * g ^ 2 = 0 ->
  0 <= Rg ^ 2 - v_next.
Proof.
  intros. replace (Rg ^ 2 - v_next)
    with ((beta) * ((Rg ^ 2 - v_prev)) + ((c) * ((Rg ^ 2 - g ^ 2)) + ((- Rg ^ 2) * ((beta + c - 1)) + ((-1) * ((v_next - beta * v_prev - c * g ^ 2)))))) by identity.
  terms.
Qed.

Lemma step_log_room : forall (Rg v_next : R),
  0 < Rg ->
  0 <= v_next ->
  0 <= Rg ^ 2 - v_next ->
  0 <= Rg ^ 2 - v_next.
Proof.
  intros. replace (Rg ^ 2 - v_next)
    with ((1) * ((Rg ^ 2 - v_next))) by identity.
  terms.
Qed.

Lemma step_log_range : forall (Rg eps log_next log_top v_next : R),
  0 < Rg ->
  0 < eps ->
  0 <= v_next ->
  log_top = ln (Rg ^ 2 + eps) ->
  log_next = ln (eps + v_next) ->
  0 <= Rg ^ 2 - v_next ->
  0 <= log_top - log_next.
Proof.
  intros. subst log_top log_next. assert (T := ln_monotone (Rg ^ 2 + eps) (eps + v_next) ltac:(positive) ltac:(lra)). lra.
Qed.

Lemma step_logs_range : forall (count : nat) (log_top : R) (log_next : nat -> R),
  (forall j, (j < count)%nat -> 0 <= log_top - (log_next j)) ->
  0 <= (sum count (fun j => 1)) * log_top - (sum count log_next).
Proof.
  intros. replace ((sum count (fun j => 1)) * log_top - (sum count log_next))
    with (sum count (fun j => (log_top) * (1) + ((-1) * ((log_next j))))) by (rewrite ?sum_plus, ?sum_scal, ?sum_const; identity).
  apply sum_nonneg. intros j Hj; repeat match goal with H : forall j, (j < _)%nat -> _ |- _ => specialize (H j Hj) end.
  match goal with H : 0 <= ?e |- 0 <= ?t => replace t with e by identity; exact H end.
Qed.

Lemma step_zero :
  0 = 0.
Proof.
  intros. replace (0)
    with (0) by identity.
  vanish.
Qed.

Lemma step_logs_start_value : forall (count : nat) (log_eps : R),
  (forall j, (j < count)%nat -> 0 = 0) ->
  (sum count (fun j => log_eps)) - (sum count (fun j => 1)) * log_eps = 0.
Proof.
  intros. replace ((sum count (fun j => log_eps)) - (sum count (fun j => 1)) * log_eps)
    with (sum count (fun j => (1) * (log_eps) + ((- log_eps) * (1)))) by (rewrite ?sum_plus, ?sum_scal, ?sum_const; identity).
  rewrite (sum_ext count _ (fun _ => 0)); [rewrite sum_const; ring|].
  intros j Hj; repeat match goal with H : forall j, (j < _)%nat -> _ |- _ => specialize (H j Hj) end.
  match goal with H : ?e = 0 |- ?t = 0 => replace t with e by identity; exact H end.
Qed.

Lemma step_start_room : forall (Rg : R),
  0 < Rg ->
  0 <= Rg ^ 2.
Proof.
  intros. replace (Rg ^ 2)
    with (Rg ^ 2) by identity.
  terms.
Qed.

Lemma step_log_start_range : forall (Rg eps log_eps log_top : R),
  0 < Rg ->
  0 < eps ->
  log_top = ln (Rg ^ 2 + eps) ->
  log_eps = ln (eps) ->
  0 <= Rg ^ 2 ->
  0 <= log_top - log_eps.
Proof.
  intros. subst log_top log_eps. assert (T := ln_monotone (Rg ^ 2 + eps) (eps) ltac:(positive) ltac:(lra)). lra.
Qed.

Lemma step_logs_range_start : forall (d log_eps log_top logs_start : R),
  0 < d ->
  0 <= log_top - log_eps ->
  logs_start - d * log_eps = 0 ->
  0 <= d * log_top - logs_start.
Proof.
  intros. replace (d * log_top - logs_start)
    with ((d) * ((log_top - log_eps)) + ((-1) * ((logs_start - d * log_eps)))) by identity.
  terms.
Qed.

Lemma step_log_gain_split : forall (Rg eps log_eps log_gain log_top : R),
  0 < Rg ->
  0 < eps ->
  log_gain = ln ((Rg ^ 2 + eps) / eps) ->
  log_top = ln (Rg ^ 2 + eps) ->
  log_eps = ln (eps) ->
  log_eps + log_gain - log_top = 0.
Proof.
  intros. subst log_gain log_top log_eps. replace ((Rg ^ 2 + eps) / eps) with ((Rg ^ 2 + eps) / (eps)) by identity.
  assert (T := ln_quotient (Rg ^ 2 + eps) (eps) ltac:(positive) ltac:(positive)). lra.
Qed.

Lemma step_norm_total : forall (D T_B T_logs T_norm d h ln2 log_eps log_gain log_top logs_end logs_start : R),
  0 < D ->
  0 <= T_B ->
  0 <= T_norm ->
  0 < d ->
  0 < h ->
  0 < ln2 ->
  0 <= T_logs + T_B * d * ln2 / h - T_norm ->
  T_logs + logs_start - logs_end = 0 ->
  0 <= d * log_top - logs_end ->
  logs_start - d * log_eps = 0 ->
  log_eps + log_gain - log_top = 0 ->
  T_B - D = 0 ->
  0 <= d * (log_gain + D * ln2 / h) - T_norm.
Proof.
  intros. replace (d * (log_gain + D * ln2 / h) - T_norm)
    with ((1) * ((T_logs + T_B * d * ln2 / h - T_norm)) + ((-1) * ((T_logs + logs_start - logs_end)) + ((1) * ((d * log_top - logs_end)) + ((1) * ((logs_start - d * log_eps)) + ((d) * ((log_eps + log_gain - log_top)) + ((- (d * ln2 / h)) * ((T_B - D)))))))) by identity.
  terms.
Qed.

Lemma step_assembled : forall (D F_end F_star F_start L Rg T_F T_gain T_inner T_inner_mean T_norm T_norm_mean Z alpha d h ln2 log_gain weighted_sum : R),
  0 < D ->
  0 < L ->
  0 < Rg ->
  0 <= T_gain ->
  0 <= T_norm ->
  0 <= T_norm_mean ->
  0 < Z ->
  0 < alpha ->
  0 < d ->
  0 < h ->
  0 < ln2 ->
  0 <= weighted_sum ->
  0 <= L * T_norm * alpha ^ 2 / 2 - T_F - T_inner * alpha ->
  F_start + T_F - F_end = 0 ->
  0 <= F_end - F_star ->
  0 <= T_inner_mean + 2 * Rg * T_norm_mean - T_gain / 2 ->
  T_inner_mean - T_inner = 0 ->
  T_norm_mean - T_norm = 0 ->
  0 <= T_gain - weighted_sum / Z ->
  0 <= d * (log_gain + D * ln2 / h) - T_norm ->
  0 <= F_start / alpha + 2 * Rg * d * log_gain + L * alpha * d * log_gain / 2 + 2 * D * Rg * d * ln2 / h + D * L * alpha * d * ln2 / (2 * h) - F_star / alpha - weighted_sum / (2 * Z).
Proof.
  intros. replace (F_start / alpha + 2 * Rg * d * log_gain + L * alpha * d * log_gain / 2 + 2 * D * Rg * d * ln2 / h + D * L * alpha * d * ln2 / (2 * h) - F_star / alpha - weighted_sum / (2 * Z))
    with ((1 / alpha) * ((L * T_norm * alpha ^ 2 / 2 - T_F - T_inner * alpha)) + ((1 / alpha) * ((F_start + T_F - F_end)) + ((1 / alpha) * ((F_end - F_star)) + ((1) * ((T_inner_mean + 2 * Rg * T_norm_mean - T_gain / 2)) + ((-1) * ((T_inner_mean - T_inner)) + ((- (2 * Rg)) * ((T_norm_mean - T_norm)) + ((1 / 2) * ((T_gain - weighted_sum / Z)) + ((2 * Rg + L * alpha / 2) * ((d * (log_gain + D * ln2 / h) - T_norm)))))))))) by identity.
  terms.
Qed.

Lemma step_conclusion : forall (D F_star F_start L Rg Z alpha d h ln2 log_gain weighted_sum : R),
  0 < D ->
  0 < L ->
  0 < Rg ->
  0 < Z ->
  0 < alpha ->
  0 < d ->
  0 < h ->
  0 < ln2 ->
  0 <= weighted_sum ->
  0 <= F_start / alpha + 2 * Rg * d * log_gain + L * alpha * d * log_gain / 2 + 2 * D * Rg * d * ln2 / h + D * L * alpha * d * ln2 / (2 * h) - F_star / alpha - weighted_sum / (2 * Z) ->
  0 <= 2 * F_start * Z / alpha + 4 * Rg * Z * d * log_gain + L * Z * alpha * d * log_gain + 4 * D * Rg * Z * d * ln2 / h + D * L * Z * alpha * d * ln2 / h - weighted_sum - 2 * F_star * Z / alpha.
Proof.
  intros. replace (2 * F_start * Z / alpha + 4 * Rg * Z * d * log_gain + L * Z * alpha * d * log_gain + 4 * D * Rg * Z * d * ln2 / h + D * L * Z * alpha * d * ln2 / h - weighted_sum - 2 * F_star * Z / alpha)
    with ((2 * Z) * (F_start / alpha + 2 * Rg * d * log_gain + L * alpha * d * log_gain / 2 + 2 * D * Rg * d * ln2 / h + D * L * alpha * d * ln2 / (2 * h) - F_star / alpha - weighted_sum / (2 * Z))) by identity. term.
Qed.

(** Names that the derivation uses and no other file proves. *)
Definition sqrt_c_R_le := step_bounded_noise.
Definition descent_step := step_descent.
Definition log_sum_step := step_log_sum.

Definition derivation :=
  (step_absolute_absG_above,
   step_absolute_absG_below,
   step_absolute_absG_square,
   step_absolute_absg_above,
   step_absolute_absg_below,
   step_absolute_absg_square,
   step_definition_of_P,
   step_definition_of_Q,
   step_definition_of_s,
   step_bounded_square,
   step_bounded_mean,
   step_bounded_noise,
   step_inverse_root_difference,
   step_worst_sign,
   step_young_past,
   step_young_present,
   step_pathwise,
   step_conditional,
   step_one_step,
   step_range_advanced,
   step_range_start,
   step_definition_of_Z,
   step_denominator,
   step_descent,
   step_log_step,
   step_ratio_split,
   step_decay_room,
   step_decay,
   step_decay_split,
   step_tokens_residual,
   step_log_sum,
   step_one_step_sum,
   step_one_step_weighted,
   step_smaller_denominator_coordinate,
   step_smaller_denominator,
   step_smaller_denominator_weighted,
   step_log_sum_coordinates,
   step_range_next,
   step_log_room,
   step_log_range,
   step_logs_range,
   step_zero,
   step_logs_start_value,
   step_start_room,
   step_log_start_range,
   step_logs_range_start,
   step_log_gain_split,
   step_norm_total,
   step_assembled,
   step_conclusion).
